"""Work dirs of others: links under the names that a run writes, and files of other content."""

from pathlib import Path

import pytest

from ich_tf.errors import DataError
from ich_tf.training.curves import training_curves
from ich_tf.training.history import read_history


def test_curves_are_written_through_no_link(tmp_path: Path) -> None:
    """CWE-59: `train --extend` in a stranger's work dir overwrote the file that it led to."""
    theirs, path = tmp_path / "thesis", tmp_path / "training_curves.png"
    theirs.write_text("years")
    path.symlink_to(theirs)
    training_curves(path, [1.0, 0.5], [1.0, 0.6], 0.9, [0.1, 0.1])
    assert theirs.read_text() == "years"
    assert not path.is_symlink() and path.read_bytes().startswith(b"\x89PNG")


CONTENTS = [b"a,b\n1,2\n", b"\xff\xfe", b"epoch\nnone\n", b"epoch\n" + b"1" * 200_000]


@pytest.mark.parametrize("content", CONTENTS, ids=["columns", "bytes", "text", "length"])
def test_what_is_no_history_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not the history of a run") as error:
        read_history(path)
    assert len(str(error.value)) < 500
