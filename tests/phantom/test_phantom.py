import dataclasses
import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from sklearn.metrics import roc_auc_score

from ich_tf.dicom import series
from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_headers, read_slice
from ich_tf.dicom.reasons import Repair
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import CLASSES, SUBTYPES, read_labels, read_submission
from ich_tf.phantom import PhantomConfig, PhantomStudy, write_dataset
from ich_tf.phantom.basic.head import make_head
from ich_tf.phantom.basic.lesion_sampling import draw_bleeds
from ich_tf.phantom.basic.lesions import Bleeds
from ich_tf.phantom.basic.patient import make_study
from ich_tf.phantom.basic.scanner import THICKNESS_MM
from ich_tf.phantom.geometry import field_of_view
from ich_tf.phantom.headers import encode_slice
from ich_tf.phantom.study import Encoding, plan_patients
from tests.support.marks import slow

TINY = PhantomConfig(num_patients=3, matrix=32, masks=True, seed=5)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_dataset(folder, TINY, num_workers=1)
    return folder


def headers_of(folder: Path) -> list[Header]:
    return [read_headers(io.BytesIO(path.read_bytes()))[0] for path in sorted(folder.glob("*.dcm"))]


def test_bytes_follow_from_config_alone(tiny: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "two", TINY, num_workers=2)
    assert hashes(tmp_path / "two") == hashes(tiny)
    write_dataset(tmp_path / "other", dataclasses.replace(TINY, seed=6, num_patients=2))
    other, first = (
        {digest for name, digest in hashes(folder).items() if name.endswith(".dcm")}
        for folder in (tmp_path / "other", tiny)
    )
    assert first and not other & first


def test_the_layout_is_rsnas(phantom_dir: Path) -> None:
    for split, table in (("train", "stage_2_train.csv"), ("test", "stage_2_test_labels.csv")):
        stems = {path.stem for path in (phantom_dir / f"stage_2_{split}").iterdir()}
        assert set(read_labels(phantom_dir / table).index) == stems
    sample = read_submission(phantom_dir / "stage_2_sample_submission.csv")
    assert list(sample.index) == list(read_labels(phantom_dir / "stage_2_test_labels.csv").index)
    assert (sample.to_numpy() == 0.5).all()

    rows = pd.read_csv(phantom_dir / "stage_2_train.csv")
    assert list(rows.columns) == ["ID", "Label"]
    images = len(list((phantom_dir / "stage_2_train").iterdir()))
    # Four images stand in it twice, as in RSNA's.
    assert len(rows) == (images + 4) * len(CLASSES)
    assert rows["ID"].duplicated().sum() == 4 * len(CLASSES)
    about = json.loads((phantom_dir / "phantoms.json").read_text())
    assert about["slices"]["train"] == images
    assert PhantomConfig(**about["config"]).seed == 3


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_what_the_masks_hold(tiny: Path, split: str) -> None:
    table = {"train": "stage_2_train.csv", "test": "stage_2_test_labels.csv"}[split]
    labels = read_labels(tiny / table)
    for image_id, row in labels.iterrows():
        path = tiny / f"stage_2_{split}_masks" / f"{image_id}.png"
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        bits = np.bitwise_or.reduce(mask, axis=None)
        np.testing.assert_array_equal(row.to_numpy(), bits >> np.arange(len(CLASSES)) & 1)
        # Any is the union of the others, voxel by voxel.
        np.testing.assert_array_equal(mask >> 5 > 0, mask & 31 > 0)
    assert labels["any"].sum() > 0


def test_no_patient_is_in_train_and_test(phantom_dir: Path) -> None:
    train, test = (
        {header.patient_id for header in headers_of(phantom_dir / f"stage_2_{split}")}
        for split in ("train", "test")
    )
    assert train and test and not train & test


def test_slices_lie_5_mm_apart_along_the_normal() -> None:
    config = PhantomConfig(matrix=32, tilt_fraction=1.0)
    misordered = 0
    for seed in range(3):
        study = make_study(np.random.default_rng(seed), config)
        geometry = study.geometry
        assert 24 <= len(study.hu) <= 40
        steps = np.diff(geometry.positions_mm @ geometry.normal)
        np.testing.assert_allclose(steps, THICKNESS_MM, atol=1e-4)
        assert 8 <= abs(geometry.tilt_deg) <= 24
        misordered += bool((np.diff(geometry.positions_mm[:, 2]) <= 0).any())
    # In some of them z alone would give the wrong order.
    assert 0 < misordered < 3


@dataclasses.dataclass(frozen=True)
class Member:
    header: Header


def test_files_of_a_series_are_found_in_their_order(tiny: Path) -> None:
    headers = headers_of(tiny / "stage_2_train")
    groups = series.group_by_series([Member(header) for header in headers])
    assert len(groups) >= 2
    for members in groups.values():
        heights = [np.dot(member.header.normal, member.header.position_mm) for member in members]
        np.testing.assert_allclose(np.diff(heights), THICKNESS_MM, atol=1e-3)


ENCODINGS = {
    "signed": Encoding(True, -1024, False, False, False, False),
    "padded": Encoding(True, -1024, True, False, True, True),
    "unsigned": Encoding(False, -1024, False, False, True, False),
    "unsigned_1000": Encoding(False, -1000, False, False, False, True),
    "quirk": Encoding(False, -1000, False, True, False, False),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_read_back_as_it_was(name: str) -> None:
    config = PhantomConfig(matrix=64)
    study = make_study(np.random.default_rng(1), config)
    encoding = ENCODINGS[name]
    study = dataclasses.replace(
        study, encoding=encoding, hu=np.maximum(study.hu, encoding.intercept)
    )
    index = len(study.hu) // 2
    data = encode_slice(study, index, ("ID_1", "ID_2", "ID_3", "ID_00000000a"))
    slice_ = read_slice(data)
    inside = field_of_view(64) if encoding.padded else np.ones((64, 64), bool)
    np.testing.assert_array_equal(slice_.hu[inside], study.hu[index][inside])
    assert slice_.hu[~inside].size == 0 or slice_.hu[~inside].max() <= -1000
    assert (Repair.RSNA_12BIT in slice_.repairs) == encoding.quirk
    assert bool(encoding.quirk) == (pydicom.dcmread(io.BytesIO(data)).RescaleIntercept == 0)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # wanted: `ID_...` is no UID
def test_headers_vary_as_rsnas(phantom_dir: Path) -> None:
    seen: dict[str, set[str]] = {}
    for path in (phantom_dir / "stage_2_train").iterdir():
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        for key, value in (
            ("sign", dataset.PixelRepresentation),
            ("syntax", dataset.file_meta.TransferSyntaxUID.name),
            ("windows", dataset["WindowCenter"].VM),
            ("tilted", float(dataset.ImageOrientationPatient[5]) != 0),
        ):
            seen.setdefault(key, set()).add(str(value))
        assert str(dataset.StudyInstanceUID).startswith("ID_")
        assert "InstanceNumber" not in dataset and "SliceThickness" not in dataset
    assert {key: len(values) for key, values in seen.items()} == {
        "sign": 2, "syntax": 2, "windows": 2, "tilted": 2,
    }  # fmt: skip


def scans(leading: int, seed: int) -> tuple[PhantomStudy, PhantomStudy, np.ndarray]:
    """A head with a bleed of 25 ml, the same head without, and each voxel's way to bone, mm."""
    config = PhantomConfig(matrix=128, noise_hu=0, mimic_fraction=0, tilt_fraction=0)
    rng = np.random.default_rng([leading, seed])
    head = make_head(rng, with_calcifications=False)
    bleeds = dataclasses.replace(draw_bleeds(rng, head, leading, 25.0), shift_mm=0.0)
    with_blood, without = (
        make_study(np.random.default_rng(1), config, head, content)
        for content in (bleeds, Bleeds())
    )
    soft = (without.hu < 300).astype(np.uint8)
    to_bone = np.stack([cv2.distanceTransform(mask, cv2.DIST_L2, 5) for mask in soft])
    return with_blood, without, to_bone * without.geometry.spacing_mm


@pytest.mark.parametrize("seed", [0, slow(1)])
@pytest.mark.parametrize("leading", range(len(SUBTYPES)), ids=SUBTYPES)
def test_blood_lies_where_its_subtype_says(leading: int, seed: int) -> None:
    study, without, to_bone = scans(leading, seed)
    inside = (study.masks >> leading) & 1 > 0
    voxel_ml = study.geometry.spacing_mm**2 * THICKNESS_MM / 1e3
    assert 12 < inside.sum() * voxel_ml < 40
    assert 50 < np.median(study.hu[inside]) < 80
    before, bone_mm = np.median(without.hu[inside]), np.median(to_bone[inside])
    name = SUBTYPES[leading]
    if name in ("epidural", "subdural"):
        assert bone_mm < 7
        assert np.percentile(to_bone[inside], 5) < 3  # it touches the inner table
    elif name == "intraparenchymal":
        assert 20 < before < 42 and np.percentile(to_bone[inside], 5) > 5
    elif name == "intraventricular":
        assert before < 15 and np.percentile(to_bone[inside], 5) > 15
    else:
        # Blood in a sulcus fills half of the voxels around it: fluid and cortex before.
        assert before < 30


def test_a_lens_is_thicker_for_its_width_than_a_crescent() -> None:
    rng = np.random.default_rng(0)
    head = make_head(rng, with_calcifications=False)
    shapes = {}
    for leading in (SUBTYPES.index("epidural"), SUBTYPES.index("subdural")):
        bleeds = [draw_bleeds(rng, head, leading, 30.0).extra_axial[0] for _ in range(20)]
        shapes[leading] = [bleed.height_mm / bleed.radius_mm for bleed in bleeds]
    lens, crescent = shapes.values()
    assert min(lens) > 1.5 * max(crescent)


def test_a_threshold_does_not_solve_it(phantom_dir: Path) -> None:
    labels = read_labels(phantom_dir / "stage_2_train.csv")
    counts = []
    for image_id in labels.index:
        hu = read_slice((phantom_dir / "stage_2_train" / f"{image_id}.dcm").read_bytes()).hu
        counts.append(np.count_nonzero((hu >= 50) & (hu <= 90)))
    assert roc_auc_score(labels["any"], counts) < 0.85


def test_the_flags_give_the_shares() -> None:
    config = PhantomConfig(
        num_patients=40,
        test_fraction=0.25,
        bleed_fraction=0.5,
        subtype_shares=("epidural=3", "subdural=1"),
    )
    plans = plan_patients(config)
    for test, number in ((True, 10), (False, 30)):
        leading = [plan.leading for plan in plans if plan.test == test]
        assert len(leading) == number
        bleeding = [subtype for subtype in leading if subtype is not None]
        assert len(bleeding) == number // 2
        assert abs(bleeding.count(SUBTYPES.index("epidural")) - 0.75 * len(bleeding)) < 1
        assert set(bleeding) == {SUBTYPES.index("epidural"), SUBTYPES.index("subdural")}


def test_without_bleeds_nothing_is_labelled(tmp_path: Path) -> None:
    summary = write_dataset(
        tmp_path, PhantomConfig(num_patients=2, matrix=32, bleed_fraction=0), num_workers=1
    )
    assert summary.positives["train"] == dict.fromkeys(CLASSES, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": 8}, "matrix is 8; it must be in \\[32, 1024\\]"),
        ({"num_patients": 0}, "num_patients is 0; it must be 1 or more"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0"),
        ({"bleed_fraction": float("nan")}, "bleed_fraction is nan; it must be a finite number"),
        ({"subtype_shares": ("dural=1",)}, "subtype_shares is 'dural=1'"),
        ({"subtype_shares": ("epidural=0",)}, "above 0 for one at least"),
        ({"max_volume_ml": 0.5}, "from min_volume_ml, which is 1.0"),
        ({"seed": True}, "seed is True; it must be of type int"),
    ],
)
def test_config_names_the_wrong_field(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PhantomConfig(**changes)


def test_nothing_but_phantoms_is_overwritten(tmp_path: Path) -> None:
    config = PhantomConfig(num_patients=1, matrix=32)
    write_dataset(tmp_path / "set", config, num_workers=1)
    before = hashes(tmp_path / "set")
    with pytest.raises(InputError, match="holds phantoms already"):
        write_dataset(tmp_path / "set", config, num_workers=1)
    (tmp_path / "set/stage_2_train/notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt: not made by this tool"):
        write_dataset(tmp_path / "set", config, num_workers=1, overwrite=True)
    (tmp_path / "set/stage_2_train/notes.txt").unlink()
    assert hashes(tmp_path / "set") == before
    write_dataset(tmp_path / "set", config, num_workers=1, overwrite=True)
    assert hashes(tmp_path / "set") == before

    (tmp_path / "real/stage_2_train").mkdir(parents=True)
    with pytest.raises(InputError, match="not made by this tool"):
        write_dataset(tmp_path / "real", config, num_workers=1, overwrite=True)
