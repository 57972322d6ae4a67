"""Statistics of slices, and the sidecar that stores them."""

import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom.pixel_hash import hashes_from_text
from ich_tf.dicom.reasons import Rejection
from ich_tf.errors import DataError
from ich_tf.records.data_files import sidecar_path
from ich_tf.records.shard_index import read_index
from ich_tf.records.shards import EncodedSlice, commit_shard
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.records.statistics import HISTOGRAM_BINS, SliceStatistics
from ich_tf.records.tfrecord import read_records

REJECTION = Rejection("b.dcm", "execute", "NO_PIXELS", "no pixels.")


def statistics_of(stored: np.ndarray, **changes: object) -> SliceStatistics:
    settings: dict = {
        "labels": (0, 0, 0, 0, 1, 1),
        "repairs": ("padding",),
        "decoder": "",
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "scanner": "GE",
        "row_spacing_mm": 0.5,
        "gantry_tilt_deg": -18.0,
    }
    return SliceStatistics.of_slice(stored, **{**settings, **changes})


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65520, (3, 32, 32)).astype(np.uint16)


def test_a_total_is_what_numpy_computes_of_all_pixels(stored: np.ndarray) -> None:
    total = SliceStatistics.total(statistics_of(image) for image in stored)
    hu = stored.astype(np.float64) / 16 - 1024
    assert (total.hu_min, total.hu_max) == (hu.min(), hu.max())
    assert total.hu_mean == pytest.approx(hu.mean(), rel=1e-12)
    assert (total.num_pixels, total.stored_sum) == (hu.size, int(stored.sum(dtype=np.int64)))
    edges = -1024 + 32 * np.arange(HISTOGRAM_BINS + 1)
    expected, _ = np.histogram(hu[:, ::4, ::4], edges)
    np.testing.assert_array_equal(total.hu_histogram, expected)


def test_a_total_counts_slices_by_name(stored: np.ndarray) -> None:
    first = statistics_of(stored[0])
    second = statistics_of(stored[1], labels=(0,) * 6, repairs=(), scanner="other", decoder="gdcm")
    total = SliceStatistics.total([first, second, statistics_of(stored[2], gantry_tilt_deg=0.4)])
    assert total.label_counts == (0, 0, 0, 0, 2, 2)
    assert total.repairs == {"padding": 2}
    assert total.scanners == {"GE": 2, "other": 1}
    assert total.decoders == {"gdcm": 1}
    assert total.spacings == {"0.500": 3}
    assert total.num_tilted == 2


def test_no_slices() -> None:
    total = SliceStatistics.total([])
    assert (total.hu_min, total.hu_max, total.hu_mean) == (None, None, None)
    assert total.label_counts == (0,) * 6 and not total.hu_histogram.any()


def commit(path: Path, stored: np.ndarray) -> Sidecar:
    return commit_shard(
        path,
        [
            EncodedSlice(b"first", statistics_of(stored[0]), 7),
            REJECTION,
            EncodedSlice(b"2nd", statistics_of(stored[1]), 2**64 - 1),
        ],
        split="test",
        plan_sha256="p",
        sources_sha256="s",
        versions={"numpy": "1"},
    )


def test_a_committed_shard_has_its_records_index_and_sidecar(
    tmp_path: Path, stored: np.ndarray
) -> None:
    path = tmp_path / "test-00000-of-00001.tfrecord"
    sidecar = commit(path, stored)
    assert list(read_records(path)) == [b"first", b"2nd"]
    assert [size for _, size in read_index(path)] == [21, 19]
    assert (sidecar.num_records, sidecar.num_bytes) == (2, path.stat().st_size)
    assert sidecar.quarantine == (REJECTION,)
    assert sidecar.statistics.label_counts == (0, 0, 0, 0, 2, 2)


def test_a_sidecar_is_read_as_it_was_written(tmp_path: Path, stored: np.ndarray) -> None:
    path = tmp_path / "test-00000-of-00001.tfrecord"
    sidecar = commit(path, stored)
    again = read_sidecar(path)
    assert again.text() == sidecar.text() == sidecar_path(path).read_text()
    assert again.quarantine == sidecar.quarantine
    assert hashes_from_text(again.pixel_hashes).tolist() == [7, 2**64 - 1]


@pytest.mark.parametrize(
    "damage",
    [
        {"hu_histogram": [0] * 5},
        {"label_counts": [0] * 5},
        {"quarantine": [{"path": "x"}]},
        {"another": 1},
        {"pixel_hashes": "x"},
        {"repairs": None},
    ],
)
def test_a_sidecar_of_another_version_is_refused(
    tmp_path: Path, stored: np.ndarray, damage: dict
) -> None:
    path = tmp_path / "test-00000-of-00001.tfrecord"
    content = {**json.loads(commit(path, stored).text()), **damage}
    if damage == {"repairs": None}:
        del content["repairs"]
    sidecar_path(path).write_text(json.dumps(content))
    with pytest.raises(DataError, match="not a sidecar of this version"):
        read_sidecar(path)
