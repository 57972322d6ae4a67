"""The comparison of masks with heat maps: what is counted, and the table of a run."""

from pathlib import Path

import numpy as np
import pytest

from ich_tf.metrics import dice, iou
from ich_tf.training.trainer import train
from tests.support.commands import run
from tests.support.runs import smoke_config
from tools.compare_masks import Overlaps, row

ENDS = np.array([0.2, 0.5, 0.9])


def test_the_scores_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    values, truth = rng.random((5, 8, 8)), rng.random((5, 8, 8)) < 0.3
    truth[1] = False
    of_slices, of_pixels = Overlaps.of(values, ENDS, truth).scores()
    for place, end in enumerate(ENDS):
        marked = values >= end
        for score, mean, pooled in zip((iou, dice), of_slices, of_pixels, strict=True):
            assert np.isclose(mean[place], np.nanmean(score(truth, marked, axis=(1, 2))))
            assert np.isclose(pooled[place], score(truth, marked))


def test_a_row_has_the_best_threshold_of_each_kind() -> None:
    # A slice with a bleed, which the lowest threshold finds; one without, where it marks all.
    values = np.array([[[0.3, 0.3, 0.95, 0.0]], [[0.3, 0.3, 0.3, 0.3]]])
    truth = np.array([[[True, True, True, False]], [[False] * 4]])
    overlaps = Overlaps.of(values, ENDS, truth)
    assert row("x", ENDS, overlaps) == "| x | 1.000 | 1.000 | 0.2 | 0.429 | 0.600 | 0.2 |"
    few = Overlaps.of(np.where(values == 0.95, 1, values), ENDS, truth & (values == 0.95))
    assert row("x", ENDS, few) == "| x | 1.000 | 1.000 | 0.5 | 1.000 | 1.000 | 0.5 |"


@pytest.mark.slow
def test_a_run_is_compared_with_its_heat_maps(masked_dir: Path, tmp_path: Path) -> None:
    train(smoke_config(masked_dir, tmp_path, segmentation=True, dropout=0.0, epochs=1))
    records = f"--data_dir={masked_dir}", f"--work_dir={tmp_path}"
    lines = run("tools.compare_masks", *records, "--split=fold-0").stdout.splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]]
    assert names == [
        "masks at 0.5",
        "masks at their best threshold",
        "heat maps at the best share of their maximum",
        "heat maps at the best value",
    ]
    scores = np.array([[float(cell) for cell in line.split("|")[2:-1]] for line in lines[4:]])
    assert (scores >= 0).all()
    # The best threshold is no worse than 0.5.
    assert (scores[1, [0, 3]] >= scores[0, [0, 3]]).all()
    few = run("tools.compare_masks", *records, "--split=fold-0", "--max_slices=9").stdout
    assert few.startswith("9 slices of fold-0")
    refused = run(
        "tools.compare_masks", *records, "--class_name=epidural", "--max_slices=1", code=1
    )
    assert "no slice of test has a mask that marks epidural" in refused.stderr
