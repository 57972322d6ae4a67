"""Conversions of NIfTI volumes, compared with those of the DICOM files that they were made of."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.matching import candidate_keys
from ich_tf.conversion.nifti_ids import NiftiIds
from ich_tf.conversion.repair import repair
from ich_tf.dicom.geometry import order_along
from ich_tf.dicom.reader import Slice, read_slice
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.records.data_files import QUARANTINE
from ich_tf.records.schema import SliceRecord
from tests.support.conversions import config_for, files_of, slice_records_of
from tests.support.nifti_files import make_nifti, volume_of

pytest.importorskip("nibabel")

# Stored as scanners' converters do: from the left, from the back, from the top; k fastest.
_STORED = ((2, 0, 1), (True, True, False))


@pytest.fixture(scope="module")
def sets(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The phantoms whose slices are evenly spaced, as DICOM files and as NIfTI volumes."""
    root = tmp_path_factory.mktemp("nifti")
    dicom, nifti = root / "dicom", root / "nifti"
    series: dict[str, list[tuple[str, Slice]]] = {}
    for path in sorted((phantom_dir / "stage_2_train").iterdir()):
        slice_ = read_slice(path.read_bytes())
        series.setdefault(slice_.header.series_id, []).append((path.name, slice_))
    for folder in (dicom, nifti):
        (folder / "stage_2_train").mkdir(parents=True)
    labels = pd.read_csv(phantom_dir / "stage_2_train.csv").drop_duplicates("ID")
    of_image = dict(zip(labels["ID"], labels["Label"], strict=True))
    rows: dict[str, list[str]] = {"dicom": ["ID,Label"], "nifti": ["ID,Label"]}
    table = ["file,patient,study,series"]
    for number, members in enumerate(series.values()):
        members = [members[i] for i in order_along([slice_.header for _, slice_ in members])]
        positions = np.array([slice_.header.position_mm for _, slice_ in members])
        if np.ptp(np.diff(positions, axis=0), axis=0).max() > 0.01:
            continue  # no affine says where these lie
        voxels, affine = volume_of([slice_ for _, slice_ in members])
        plain = number % 2 == 0
        name = f"case{number}.nii" + ("" if plain else ".gz")
        data = make_nifti(
            voxels,
            affine,
            packed=not plain,
            **({} if plain else {"stored_as": _STORED}),
        )
        (nifti / "stage_2_train" / name).write_bytes(data)
        header = members[0][1].header
        ids = header.patient_id, header.study_id, header.series_id
        table.append(",".join((name, *ids)))
        for place, (file, slice_) in enumerate(members):
            shutil.copy(phantom_dir / "stage_2_train" / file, dicom / "stage_2_train")
            frame = place + 1 if plain else len(members) - place
            for class_ in CLASSES:
                label = of_image[f"{slice_.header.image_id}_{class_}"]
                rows["dicom"].append(f"{slice_.header.image_id}_{class_},{label}")
                rows["nifti"].append(f"case{number}/{frame}_{class_},{label}")
    for folder, name in ((dicom, "dicom"), (nifti, "nifti")):
        (folder / "stage_2_train.csv").write_text("\n".join(rows[name]) + "\n")
    (nifti / "table.csv").write_text("\n".join(table) + "\n")
    return dicom, nifti


def _of_body(record: SliceRecord) -> SliceRecord:
    """A record without what only one of the two formats has."""
    return replace(
        record,
        source_id="",
        sha256="",
        scanner="",
        repairs=(),
        z_mm=0.0,
        spacing_mm=(0.0, 0.0),
        gantry_tilt_deg=0.0,
    )


def _place(record: SliceRecord) -> tuple[float, ...]:
    return (record.z_mm, *record.spacing_mm, record.gantry_tilt_deg)


def test_records_are_those_of_the_dicom_files(sets: tuple[Path, Path], tmp_path: Path) -> None:
    dicom, nifti = sets
    convert(config_for(dicom, tmp_path / "dicom"))
    config = config_for(nifti, tmp_path / "nifti", nifti_csv=str(nifti / "table.csv"))
    result = convert(config)
    assert not result.rejections
    expected = slice_records_of(tmp_path / "dicom")
    found = slice_records_of(tmp_path / "nifti")
    assert len(found) > 200 and any(abs(record.gantry_tilt_deg) > 5 for record in found)
    assert sum(record.labels[5] for record in found) > 20
    for one, other in zip(found, expected, strict=True):
        assert _of_body(one) == _of_body(other)
        np.testing.assert_allclose(_place(one), _place(other), atol=1e-3)
    # Any number of workers writes the same bytes, and a lost shard is built again.
    convert(replace(config, out_dir=str(tmp_path / "again"), num_workers=2))
    before = files_of(tmp_path / "nifti")
    shards = {name: data for name, data in before.items() if ".tfrecord" in name}
    again = files_of(tmp_path / "again")
    assert shards == {name: data for name, data in again.items() if ".tfrecord" in name}
    name = next(name for name in shards if name.endswith(".tfrecord"))
    (tmp_path / "nifti" / name).write_bytes(b"")
    assert repair(tmp_path / "nifti", [name]) == [name]
    assert files_of(tmp_path / "nifti")[name] == shards[name]


def test_files_that_the_table_does_not_have_are_listed(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    _, nifti = sets
    rows = (nifti / "table.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join(rows[:-1]) + "\n")
    config = config_for(nifti, tmp_path / "out", nifti_csv=str(tmp_path / "table.csv"))
    convert(replace(config, max_bad_fraction=1.0, labels_csv=""))
    missing = rows[-1].partition(",")[0]
    lines = (tmp_path / "out" / QUARANTINE).read_text().splitlines()
    assert lines and all(f'"{missing}#' in line and "--nifti_csv" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,person\na,b\n", "has no column patient"),
        ("file,patient\na.nii,\n", "line 2 has no file or no patient"),
        ("file,patient\na.nii,p\na.nii.gz,q\n", "line 3 names a file again"),
        ("file,patient,series\na.nii,p,s/2\n", "line 2 has a series with a slash"),
        ("file,patient\na.nii\n", "line 2 has 1 values; expected 2"),
        ("", "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=f"{message}.*Expected a CSV with the columns"):
        NiftiIds.from_csv(str(path))
    with pytest.raises(InputError, match="no such file"):
        NiftiIds.from_csv(str(tmp_path / "none.csv"))


def test_labels_name_slices_with_and_without_the_extension() -> None:
    known = {"case.01.nii.gz/2", "case.01/2", "case.01.nii/2"}
    keys = candidate_keys("a/case.01.nii.gz", None, "name", known, frame=2)
    assert [key for _, key in keys] == ["case.01.nii.gz/2"]
    keys = candidate_keys("a/case.01.nii.gz", None, "name", known - {"case.01.nii.gz/2"}, frame=2)
    assert [key for _, key in keys] == ["case.01/2"]
