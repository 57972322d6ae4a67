"""Phantoms with a scanner's headers: archives take them, and models read the same pixels."""

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest

from ich_tf.dicom.reader import read_slice
from ich_tf.phantom import PhantomConfig, write_dataset


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / "stage_2_train").glob("*.dcm"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same phantoms with both kinds of headers."""
    folder = tmp_path_factory.mktemp("phantoms")
    for headers in ("rsna", "archive"):
        config = PhantomConfig(num_patients=1, matrix=32, test_fraction=0, headers=headers)
        write_dataset(folder / headers, config)
    return folder / "rsna", folder / "archive"


def test_pixels_and_places_are_the_same(folders: tuple[Path, Path]) -> None:
    names, others = map(files_of, folders)
    assert [path.name for path in names] == [path.name for path in others]
    for path, other in zip(names, others, strict=True):
        slice_, archived = read_slice(path.read_bytes()), read_slice(other.read_bytes())
        assert (slice_.hu == archived.hu).all()
        assert slice_.header.position_mm == archived.header.position_mm
        assert archived.header.kernel == "soft"


def test_uids_are_valid_and_group_the_files_as_before(folders: tuple[Path, Path]) -> None:
    def groups(folder: Path) -> list[set[str]]:
        found: dict[str, set[str]] = {}
        for path in files_of(folder):
            header = read_slice(path.read_bytes()).header
            found.setdefault(f"{header.patient_id} {header.series_id}", set()).add(path.name)
        return sorted(found.values(), key=min)

    assert groups(folders[0]) == groups(folders[1])
    data_sets = [pydicom.dcmread(path) for path in files_of(folders[1])]
    uids = {data_set.SOPInstanceUID for data_set in data_sets}
    assert len(uids) == len(data_sets)
    assert all(uid.is_valid for uid in uids)
    assert all(
        data_set.file_meta.MediaStorageSOPInstanceUID == data_set.SOPInstanceUID
        for data_set in data_sets
    )


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy: dicom3tools")
def test_the_files_are_ct_images_by_the_standard(folders: tuple[Path, Path]) -> None:
    path = files_of(folders[1])[0]
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
    assert "CTImage" in done.stderr
