"""Labels of a shard's slices and exams, read from its records."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import DataError
from ich_tf.records.example import encode
from ich_tf.records.manifest import Shard
from ich_tf.records.schema import SliceRecord
from ich_tf.records.shard_labels import (
    KnownShares,
    has_label,
    known_mean,
    known_shares,
    read_shard_labels,
)
from ich_tf.records.tfrecord import frame

NAN = np.nan
RECORD = SliceRecord(
    encoded=b"pixels",
    format="png",
    height=1,
    width=1,
    channels=1,
    source_id="",
    sha256="",
    labels=(0,) * 6,
    label_present=1,
    patient_key="",
    study_key="",
    series_key="",
    slice_index=0,
    num_slices=1,
    z_mm=0.0,
    spacing_mm=(1.0, 1.0),
    gantry_tilt_deg=0.0,
    scanner="GE",
    repairs=(),
)
EXAM = (0.25, 1.0, NAN, 0.0, 0.0, 1.0)
# Series, labels of the slice, bits of the known ones, labels of the exam.
SLICES = [
    ("b", (0, 1, 0, 0, 0, 1), -1, ()),
    ("b", (0, 0, 0, 0, 0, 0), 0, ()),
    ("a", (0, 0, 0, 0, 0, 0), 0b100011, EXAM),
]


def write_shard(path: Path, slices: list[tuple[str, tuple, int, tuple]] = SLICES) -> Shard:
    framed = [
        frame(
            encode(
                replace(
                    RECORD,
                    series_key=series,
                    labels=labels,
                    label_present=int(known != 0),
                    labels_known=known,
                    exam_labels=exam,
                )
            )
        )
        for series, labels, known, exam in slices
    ]
    path.write_bytes(b"".join(framed))
    return Shard(path, "test", len(slices), path.stat().st_size, "", (0,) * 6)


def test_exams_are_runs_of_a_series(tmp_path: Path) -> None:
    labels = read_shard_labels(write_shard(tmp_path / "s.tfrecord"))
    expected = [
        [0, 1, 0, 0, 0, 1],
        [NAN] * 6,
        [0, 0, NAN, NAN, NAN, 0],
    ]
    np.testing.assert_array_equal(labels.labels, expected)
    assert (labels.first.tolist(), labels.count.tolist()) == ([0, 2], [2, 1])
    # Labels of the exam's own come before what its slices tell.
    np.testing.assert_array_equal(labels.exams, [[NAN, 1, NAN, NAN, NAN, 1], EXAM])
    assert labels.labels.dtype == labels.exams.dtype == np.float32
    assert labels.first.dtype == labels.count.dtype == np.int64


def test_a_shard_without_records_has_no_labels(tmp_path: Path) -> None:
    labels = read_shard_labels(write_shard(tmp_path / "s.tfrecord", []))
    assert labels.labels.shape == labels.exams.shape == (0, 6)
    assert labels.first.shape == labels.count.shape == (0,)


def test_shares_are_of_all_shards(tmp_path: Path) -> None:
    shards = [
        write_shard(tmp_path / "1.tfrecord"),
        write_shard(tmp_path / "2.tfrecord", [("c", (0, 0, 1, 0, 0, 1), -1, ())]),
    ]
    shares = known_shares(shards)
    np.testing.assert_allclose(shares.slices, [0, 1 / 3, 1 / 2, 0, 0, 2 / 3])
    np.testing.assert_allclose(shares.exams, [0.25 / 2, 2 / 3, 1, 0, 0, 1])
    assert (shares.num_slices, shares.num_exams) == (3, 3)


def test_a_slice_counts_if_a_class_of_it_is_known() -> None:
    slices = np.array([[1.0] * 6, [NAN] * 5 + [0.0], [NAN] * 6])
    exams = np.array([[NAN] * 6, [NAN] * 4 + [0.5, NAN]])
    shares = KnownShares.count(slices, exams)
    assert (shares.num_slices, shares.num_exams) == (2, 1)
    np.testing.assert_array_equal(shares.slices, [1, 1, 1, 1, 1, 0.5])
    np.testing.assert_array_equal(shares.exams, [NAN, NAN, NAN, NAN, 0.5, NAN])
    assert has_label(slices).tolist() == [True, True, False]


def test_an_unknown_share_is_that_of_exams_and_then_one_half() -> None:
    nothing = np.full((1, 6), NAN)
    slices, exams = nothing.copy(), nothing.copy()
    slices[0, :2] = 1, 0
    exams[0, 1:3] = 1, 0.75
    shares = KnownShares.count(slices, exams)
    assert shares.of_slices.tolist() == [1, 0, 0.75, 0.5, 0.5, 0.5]
    assert shares.of_exams.tolist() == [0.5, 1, 0.75, 0.5, 0.5, 0.5]


def test_means_are_of_float64() -> None:
    share = np.float32(0.1)
    labels = np.full((8, 1), share)
    labels[0] = NAN
    assert known_mean(labels).item() == pytest.approx(float(share), rel=1e-15)
    assert np.isnan(known_mean(np.zeros((0, 6)))).all()


def test_a_damaged_shard_is_refused(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tfrecord")
    advice = f"--data_dir={tmp_path} --full --repair"
    with pytest.raises(DataError, match="holds 3 records; the manifest lists 4") as error:
        read_shard_labels(replace(shard, num_records=4))
    assert advice in str(error.value) and str(shard.path) in str(error.value)
    data = bytearray(shard.path.read_bytes())
    data[40] ^= 1
    shard.path.write_bytes(data)
    with pytest.raises(DataError) as error:
        read_shard_labels(replace(shard, split="damaged"))
    assert advice in str(error.value) and str(shard.path) in str(error.value)
    shard.path.write_bytes(frame(b"\xff"))
    with pytest.raises(DataError) as error:
        read_shard_labels(replace(shard, split="foreign"))
    assert advice in str(error.value)
    shard.path.unlink()
    with pytest.raises(DataError) as error:
        read_shard_labels(replace(shard, split="missing"))
    assert advice in str(error.value) and "No such file" in str(error.value)


def test_a_shard_is_read_once(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tfrecord")
    labels = read_shard_labels(shard)
    shard.path.unlink()
    assert read_shard_labels(shard) is labels
