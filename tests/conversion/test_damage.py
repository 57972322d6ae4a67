"""Seeded damage to a finished conversion: every one is found, and repaired bit for bit."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ich_tf import errors
from ich_tf.conversion.convert import convert
from ich_tf.conversion.repair import repair
from ich_tf.conversion.verification import verify
from ich_tf.records import data_files, tfrecord
from tests.support.conversions import config_for, files_of, write_part

DAMAGES = 360
KINDS = (
    "flip",
    "flip",
    "cut",
    "append",
    "empty",
    "missing",
    "swap",
    "boundary",
    "drop",
    "exchange",
)


@pytest.fixture(scope="module")
def tiny_dicom(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "rsna"
    write_part(phantom_dir, folder, slice(6))
    # A fifth of the slices is enough; the others' labels give the quarantine something to say.
    for number, path in enumerate(sorted((folder / "stage_2_train").iterdir())):
        if number % 5:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_dicom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "data"
    convert(config_for(tiny_dicom, folder, num_folds=2))
    return folder


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Does one thing to one file, or to two; says what."""
    kind = str(rng.choice(KINDS))
    tables = sorted(folder.glob("*.tfrecord"))
    others = sorted(set(folder.iterdir()) - {folder / data_files.PLAN})
    # Half of it hits what holds the data.
    path = others[rng.integers(len(others))] if rng.random() < 0.5 else None
    path = path or tables[rng.integers(len(tables))]
    data = path.read_bytes()
    if kind in ("swap", "exchange"):
        one, two = (tables[i] for i in rng.choice(len(tables), 2, replace=False))
        pairs = [(one, two)]
        if kind == "exchange":  # with all that stands beside them
            pairs += [
                (find(one), find(two)) for find in (data_files.index_path, data_files.sidecar_path)
            ]
        for left, right in pairs:
            content = left.read_bytes()
            left.write_bytes(right.read_bytes())
            right.write_bytes(content)
        return f"{kind} {one.name} {two.name}"
    if kind in ("boundary", "drop"):
        path = tables[rng.integers(len(tables))]
        payloads = list(tfrecord.read_records(path))
        kept = payloads[: rng.integers(len(payloads))]
        if kind == "drop":
            gone = rng.integers(len(payloads))
            kept = payloads[:gone] + payloads[gone + 1 :]
        path.write_bytes(b"".join(map(tfrecord.frame, kept)))
        return f"{kind} {path.name}"
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "append":
        path.write_bytes(data + rng.bytes(int(rng.integers(1, 40))))
    elif kind == "cut":
        path.write_bytes(data[: rng.integers(max(1, len(data)))])
    else:
        bit = int(rng.integers(8 * len(data)))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
    return f"{kind} {path.name}"


@pytest.mark.slow
def test_every_damage_is_found_and_mended(tiny: Path, tiny_dicom: Path, tmp_path: Path) -> None:
    before = files_of(tiny)
    folder = tmp_path / "data"
    shutil.copytree(tiny, folder)
    rng = np.random.default_rng(20191113)
    hidden, unmended, unchanged = [], [], 0
    for number in range(DAMAGES):
        what = f"{number}: {damage(folder, rng)}"
        if files_of(folder) == before:  # an empty file was cut, two equal ones exchanged
            unchanged += 1
            continue
        problems = verify(folder, full=True)
        if not problems:
            hidden.append(what)
        repair(folder, {data_files.shard_of(one.file) for one in problems}, num_workers=1)
        if files_of(folder) != before:
            unmended.append(what)
            shutil.rmtree(folder)
            shutil.copytree(tiny, folder)
    assert DAMAGES - unchanged >= 300
    assert (hidden, unmended) == ([], [])


def test_a_damaged_plan_is_found_and_made_anew(
    tiny: Path, tiny_dicom: Path, tmp_path: Path
) -> None:
    before = files_of(tiny)
    folder = Path(shutil.copytree(tiny, tmp_path / "data"))
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    rng = np.random.default_rng(7)
    config = config_for(tiny_dicom, folder, num_folds=2)
    text = before[data_files.PLAN]
    for bit in [int(one) for one in rng.integers(8 * len(text), size=12)] + [None]:
        damaged = bytearray(text)
        if bit is None:
            damaged = damaged[: len(damaged) // 2]
        else:
            damaged[bit // 8] ^= 1 << bit % 8
        (folder / data_files.PLAN).write_bytes(damaged)
        try:
            found = verify(folder)
        except errors.DataError as error:
            assert "make_tfrecords" in str(error)
            convert(config)
        else:
            assert found, bit
            repair(folder, (), num_workers=1)
        assert files_of(folder) == before
    # Planned anew, but not written anew: the shards fit.
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")} == times
