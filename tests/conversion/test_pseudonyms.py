"""Ids under a secret: none is stored as it is, and one folder has one secret."""

from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.pseudonyms import key_fingerprint, pseudonym, read_hash_key
from ich_tf.errors import InputError
from tests.support.conversions import config_for
from tests.support.dicom_files import make_dicom
from tests.support.secret_files import write_secret

KEY = b"a secret of 16 bytes or more"


def test_under_a_secret_every_id_is_hashed() -> None:
    assert pseudonym("ID_12345678") == "ID_12345678"
    for identifier in ("ID_12345678", "MRN-1", "1.2.3"):
        assert pseudonym(identifier, KEY).startswith("H")
        assert pseudonym(identifier, KEY) != pseudonym(identifier, KEY + b"1")


def test_a_fingerprint_tells_keys_apart() -> None:
    assert key_fingerprint(b"") == ""
    assert key_fingerprint(KEY) != key_fingerprint(KEY + b"1")
    assert KEY.hex() not in key_fingerprint(KEY)


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"short", "16 or")])
def test_a_secret_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    if content is not None:
        write_secret(tmp_path / "key", content)
    with pytest.raises(InputError, match=message):
        read_hash_key(str(tmp_path / "key"))


def test_a_conversion_is_not_continued_under_another_secret(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(make_dicom())
    for name, content in (("key", KEY), ("other", KEY + b"1")):
        write_secret(tmp_path / name, content)

    def run(key: str) -> None:
        where = {"dicom_dir": str(tmp_path / "a.dcm"), "labels_csv": ""}
        file = str(tmp_path / key) if key else ""
        convert(config_for(tmp_path, tmp_path / "out", hash_key_file=file, **where))

    run("key")
    run("key")
    assert KEY not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for key in ("other", ""):
        with pytest.raises(InputError, match="ids were hashed under another secret"):
            run(key)
