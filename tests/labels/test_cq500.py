"""The table of CQ500, with its header as published."""

from pathlib import Path

import numpy as np

from ich_tf.labels import CLASSES, read_exam_table
from tests.support.cq500 import HEADER, write_reads

# Bleeds of half the studies; the second reader overlooks some of them.
TRUTH = (np.random.default_rng(1).random((60, 6)) < 0.3).astype(int)
TRUTH[:, 5] = TRUTH[:, :5].max(axis=1)


def test_the_majority_outvotes_the_reader_who_overlooks_bleeds(tmp_path: Path) -> None:
    write_reads(tmp_path / "reads.csv", TRUTH)
    table = read_exam_table(tmp_path / "reads.csv")
    assert len(HEADER) == 44
    assert table.keys == [f"CQ500-CT-{number}" for number in range(60)]
    assert table.classes_told == CLASSES
    np.testing.assert_array_equal(table.values, TRUTH)


def test_shares_tell_which_exams_were_disputed(tmp_path: Path) -> None:
    write_reads(tmp_path / "reads.csv", TRUTH)
    table = read_exam_table(tmp_path / "reads.csv", readers="all")
    shares = table.values[TRUTH == 1]
    assert set(np.round(shares, 3)) == {0.667, 1}
    assert (table.values[TRUTH == 0] == 0).all()
    assert table.agreement is not None
    disputed = np.mean((table.values[:, 5] > 0.5) & (table.values[:, 5] < 1))
    assert disputed > 0
    assert table.agreement.unanimous[5] == 1 - disputed
    assert table.agreement.readers == ("R1", "R2", "R3")
    assert all(0.5 < kappa < 1 for kappa in table.agreement.kappa)
