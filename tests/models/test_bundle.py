"""Bundles: their bytes, where they are taken, expected hashes, and names in messages."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ich_tf.errors import DataError, InputError
from ich_tf.models import bundle as bundles
from ich_tf.models.bundle import (
    is_bundle_of_weights,
    model_folder,
    naming,
    open_bundle,
    refuse_bundle,
    results_folder,
    shown,
)
from ich_tf.models.bundle_archive import write_archive
from ich_tf.models.bundle_format import BadBundle, max_size
from ich_tf.models.shared_weights import weights_file
from ich_tf.runtime.files import file_sha256
from tests.support.bundles import FILES, write_bundle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "model.zip")


def test_names_and_contents_alone_decide_the_bytes(path: Path, tmp_path: Path) -> None:
    (tmp_path / "source.h5").write_bytes(FILES["best.weights.h5"])
    turned = {name: FILES[name] for name in reversed(FILES)}
    buffer = io.BytesIO()
    sha256 = write_archive(buffer, {**turned, "best.weights.h5": tmp_path / "source.h5"})
    assert buffer.getvalue() == path.read_bytes()
    assert sha256 == file_sha256(path)


def test_other_programs_read_it(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["bundle.json", *sorted(FILES)]
        assert {name: archive.read(name) for name in FILES} == FILES


def test_a_folder_is_itself_and_a_bundle_its_files(path: Path, tmp_path: Path) -> None:
    assert model_folder(tmp_path) == tmp_path
    folder = model_folder(path)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    # Unpacked once, however it is named and wherever it lies.
    copy = tmp_path / "copy.zip"
    copy.write_bytes(path.read_bytes())
    (tmp_path / "link").symlink_to(path)
    for other in (copy, tmp_path / "link", str(path)):
        assert model_folder(other) == folder


def test_a_bundle_that_is_replaced_is_read_again(path: Path) -> None:
    former = model_folder(path)
    write_bundle(path, {**FILES, "card.md": b"# Another\n"})
    assert (model_folder(path) / "card.md").read_bytes() == b"# Another\n"
    assert (former / "card.md").read_bytes() == FILES["card.md"]


def test_an_expected_hash_is_asked_for(path: Path) -> None:
    sha256 = file_sha256(path)
    assert model_folder(f"{path}#sha256={sha256.upper()}") == model_folder(path)
    with pytest.raises(InputError, match=f"has the SHA-256 {sha256}; {'0' * 64} is asked for"):
        model_folder(f"{path}#sha256={'0' * 64}")
    for wrong in ("", "12", "g" * 64, f"{sha256}0"):
        with pytest.raises(InputError, match="must be 64 hexadecimal digits"):
            model_folder(f"{path}#sha256={wrong}")
    with pytest.raises(InputError, match="no file, but a folder, pipe or device"):
        model_folder(f"{path.parent}#sha256={sha256}")


def test_results_go_beside_it(path: Path, tmp_path: Path) -> None:
    assert results_folder(tmp_path) == tmp_path
    assert results_folder(path) == tmp_path / "model_results"
    assert results_folder(f"{path}#sha256={'0' * 64}") == tmp_path / "model_results"
    assert results_folder("runs/none") == Path("runs/none")


def test_weights_are_taken_from_it(path: Path, tmp_path: Path) -> None:
    unnamed = tmp_path / "model"
    unnamed.write_bytes(path.read_bytes())
    for weights in (path, unnamed):
        assert is_bundle_of_weights(str(weights))
        assert weights_file(str(weights)).read_bytes() == FILES["best.weights.h5"]
    file = tmp_path / "best.weights.h5"
    file.write_bytes(b"\x89HDF")
    assert weights_file(str(file)) == file and not is_bundle_of_weights("none")
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert not is_bundle_of_weights(str(tmp_path / "archive.keras"))
    several = write_bundle(tmp_path / "several.zip", {"fold-0/best.weights.h5": b""})
    with pytest.raises(InputError, match=r"several.zip: the bundle has no best.weights.h5"):
        weights_file(str(several))


def test_messages_name_it_as_it_was_given(path: Path) -> None:
    folder = model_folder(path)
    assert shown(folder / "fold-0" / "run.json") == f"{path}/fold-0/run.json"
    for kind in (InputError, DataError):
        with pytest.raises(kind, match=f"^{path}/run.json: damaged$"), naming():
            raise kind(f"{folder}/run.json: damaged")
    with pytest.raises(InputError, match="is a bundle, which is full. Unpack it"):
        refuse_bundle(path, "which is full")
    refuse_bundle(folder, "which is full")


@pytest.mark.parametrize("name", ["../a", "history.csv", "fold-0/card.json", "config.json/x"])
def test_only_known_names_are_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="at most 0"):
        write_bundle(tmp_path / "x.zip", {name: b"x"})


@pytest.mark.parametrize(
    "name",
    ["model.json", "seed-1/fold-0/run.json", "member-12/epochs/epoch-003.weights.h5",
     "network-0/best.weights.h5", "epochs/epoch-1000.weights.h5", "axes.npz"],
)  # fmt: skip
def test_names_of_all_kinds_of_models_are_known(name: str) -> None:
    assert max_size(name) > 0


def test_a_larger_bundle_than_32_bits_can_tell_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ich_tf.models.bundle_archive.MAX_BYTES", 20)
    with pytest.raises(BadBundle, match="a bundle has at most 20"):
        write_bundle(tmp_path / "x.zip")


def test_no_part_of_it_loads_tensorflow() -> None:
    code = "import sys, ich_tf.models.bundle; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_examples_are_true() -> None:
    import doctest

    from ich_tf.inference import bundle_contents
    from ich_tf.models import bundle_format

    for module in (bundles, bundle_format, bundle_contents):
        outcome = doctest.testmod(module)
        assert outcome.attempted and not outcome.failed


def test_threads_that_open_it_at_once_share_one_folder(path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(open_bundle, [path] * 32))
    assert len({each.folder for each in opened}) == 1
