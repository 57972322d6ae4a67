"""`make pretrain` on a few patients: a folder of weights that another run starts from."""

from pathlib import Path

import pytest

from ich_tf.models.shared_weights import read_card
from ich_tf.runtime.files import read_json
from tests.support.commands import run


@pytest.mark.slow
def test_the_weights_are_shared_with_a_card_and_other_phantoms_are_refused(tmp_path: Path) -> None:
    folders = [f"--{name}={tmp_path / name}" for name in ("data_dir", "work_dir", "out_dir")]
    few = "--phantom_flags=--num_patients=24 --matrix=64"
    small = "--training_flags=--backbone=tiny --image_size=32 --epochs=1 --noself_check"
    done = run("tools.pretrain", *folders, few, small)
    assert "No score on real patients was measured" in done.stdout
    card = read_card(tmp_path / "out_dir")
    assert card.phantoms["num_patients"] == 24 and card.training["backbone"] == "tiny"
    scores = {score.score: score for score in card.measured}
    loss = read_json(tmp_path / "work_dir/evaluation/test/metrics.json")["loss"]
    assert scores["weighted log loss of slices"].value == pytest.approx(loss)
    assert not any(score.is_real for score in card.measured)
    refused = run("tools.pretrain", *folders, f"{few} --seed=1", small, code=1)
    assert "are of other flags" in refused.stderr
