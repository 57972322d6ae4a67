import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError
from ich_tf.runtime.clutter import is_clutter
from tests.support.dicom_files import make_dicom

CLUTTER = (
    "Thumbs.db", "a/thumbs.DB", "desktop.ini", ".DS_Store", "._ID_a.dcm", ".hidden", "a/.git/x",
    "__MACOSX/x", "DICOMDIR", "a\\Thumbs.db",
)  # fmt: skip
INPUTS = ("a/1", "b/2.dcm", "c.txt", "d.ini", "e.db", "Thumbs.db.dcm", "../x", "a.b/c.dcm")


@pytest.mark.parametrize("name", CLUTTER)
def test_what_systems_leave_beside_files_is_clutter(name: str) -> None:
    assert is_clutter(name)


@pytest.mark.parametrize("name", INPUTS)
def test_every_other_file_is_an_input(name: str) -> None:
    assert not is_clutter(name)


def test_a_nested_folder_in_order_and_without_clutter(tmp_path: Path) -> None:
    for name in (*CLUTTER, *INPUTS[:3]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    sources = list_sources(tmp_path).sources
    assert [source.name for source in sources] == ["a/1", "b/2.dcm", "c.txt"]
    assert sources[1].read() == b"b/2.dcm"
    assert sources[1].stem == "2"


def test_clutter_is_neither_an_input_nor_a_rejection_of_a_conversion(tmp_path: Path) -> None:
    stored = np.arange(64 * 48, dtype=np.int16).reshape(64, 48)
    for folder in ("clean", "cluttered"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ID_a.dcm").write_bytes(make_dicom(stored))
        (tmp_path / folder / "notes.txt").write_text("an input, and no DICOM file")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX/._ID_a.dcm"):
        (tmp_path / "cluttered" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cluttered" / name).write_bytes(b"clutter")
    outputs = []
    for folder in ("clean", "cluttered"):
        config = ConversionConfig(
            dicom_dir=str(tmp_path / folder),
            labels_csv="",
            out_dir=str(tmp_path / f"{folder}-records"),
            image_size=16,
            max_bad_fraction=1.0,
            num_workers=1,
        )
        outputs.append(convert(config).out_dir)
    clean, cluttered = (
        ((folder / "quarantine.jsonl").read_text(), (folder / "manifest.json").read_text())
        for folder in outputs
    )
    assert [json.loads(line)["path"] for line in cluttered[0].splitlines()] == ["notes.txt"]
    assert cluttered == clean


def test_single_file(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(b"x")
    assert list_sources(tmp_path / "one.dcm").sources == [Source(tmp_path, "one.dcm")]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        list_sources(tmp_path / "none")
    with pytest.raises(InputError, match="holds no files"):
        list_sources(tmp_path)
    with pytest.raises(DicomError):
        Source(tmp_path, "gone.dcm").read()
