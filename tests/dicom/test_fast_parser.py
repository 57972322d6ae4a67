"""Plain files are read as pydicom reads them; what is not plain is left to it."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom import parser
from ich_tf.dicom.fast_parser import PIXEL_DATA, read_plain
from ich_tf.dicom.reader import read_headers
from tests.support.dicom_files import make_dicom, make_enhanced, rewrite
from tests.support.fuzz_dicom import good_files, result

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
ROWS = 0x00280010
STORED = np.arange(64 * 48, dtype=np.int16).reshape(64, 48) - 500


def is_plain(data: bytes) -> bool:
    return read_plain(data, parser.TAGS, with_pixels=True) is not None


def assert_as_pydicom(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = result(data)
    with monkeypatch.context() as patch:
        patch.setattr(parser, "read_plain", lambda *_, **__: None)
        assert result(data) == expected


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_elements_of_a_plain_file(syntax: str) -> None:
    data = make_dicom(STORED, syntax=syntax)
    dataset = read_plain(data, (ROWS,), with_pixels=True)
    assert dataset is not None
    assert dataset.get(ROWS) == (struct.pack("<H", 64),)
    assert dataset.get(PIXEL_DATA) == (STORED.tobytes(),)
    assert 0x00280011 not in dataset
    header = read_plain(data[:2000], (ROWS,), with_pixels=False)
    assert header is not None
    assert header.get(ROWS) == (struct.pack("<H", 64),)
    assert PIXEL_DATA not in header


def test_what_is_not_plain_is_left_alone() -> None:
    good = make_dicom(STORED)
    at = good.index(struct.pack("<HH", 0x0028, 0x0010))
    cases = {
        "big endian": make_dicom(STORED, syntax="big"),
        "no preamble": good[132:],
        "cut in an element": good[: at + 9],
        "cut in the pixels": good[:-1],
        "trailing bytes": good + b"\0" * 3,
        "an unknown representation": good[: at + 4] + b"ZZ" + good[at + 6 :],
        "an element of the wrong order": good[:at] + good[at + 10 : at + 20] + good[at:],
        "an unknown character set": rewrite(good, SpecificCharacterSet="ISO 2022 IR 87"),
        "explicit, said to be implicit": good.replace(
            b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"
        ),
    }
    assert is_plain(good)
    assert {name for name, data in cases.items() if is_plain(data)} == set()


def test_enhanced_files_go_to_pydicom() -> None:
    data = make_enhanced(np.stack([STORED, STORED + 1]))
    assert len(read_headers(io.BytesIO(data))) == 2


def test_both_ways_give_one_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in good_files():
        assert_as_pydicom(data, monkeypatch)


def test_real_files(real_dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [real_dicom, real_dicom.parent / "bad_dicom"]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    plain = 0
    for path in files:
        if path.stat().st_size < 8 << 20:
            data = path.read_bytes()
            plain += is_plain(data)
            assert_as_pydicom(data, monkeypatch)
    # The CT series are plain, so that this test compares something.
    assert plain > 30
