"""`make pretrain` on a few patients: a folder of weights that another run starts from."""

from pathlib import Path

import pytest

from ich_tf.models.shared_weights import read_card
from ich_tf.runtime.files import read_json
from tests.support.commands import Command, run


@pytest.mark.slow
def test_the_weights_are_shared_with_a_card_and_other_phantoms_are_refused(tmp_path: Path) -> None:
    folders = [f"--{name}={tmp_path / name}" for name in ("data_dir", "work_dir", "out_dir")]
    few = "--phantom_flags=--realism=basic --num_patients=20 --matrix=64"
    small = "--training_flags=--backbone=tiny --image_size=32 --epochs=1 --noself_check"
    others = "--other_flags=--num_patients=20 --matrix=64"
    done = run("tools.pretrain", *folders, few, small, others)
    assert "No score on real patients was measured" in done.stdout
    card = read_card(tmp_path / "out_dir")
    assert card.phantoms["num_patients"] == 20 and card.training["backbone"] == "tiny"
    losses = {
        score.data: score.value for score in card.measured if score.score.startswith("weighted")
    }
    expected = [
        read_json(tmp_path / "work_dir/evaluation" / name / "metrics.json")["loss"]
        for name in ("test", "others")
    ]
    assert list(losses.values()) == pytest.approx(expected) and expected[0] != expected[1]
    assert not any(score.is_real for score in card.measured)
    refused = run("tools.pretrain", *folders, f"{few} --seed=1", small, code=1)
    assert "are of other flags" in refused.stderr
    # Phantoms without a note are of whatever flags.
    (tmp_path / "data_dir/flags.txt").unlink()
    refused = run("tools.pretrain", *folders, few, small, code=1)
    assert "are of other flags" in refused.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--phantom_flags=--seed='1", "--phantom_flags=--seed='1: No closing quotation"),
        ("--training_flags=--epochs=1 --work_dir=x", "--training_flags: holds --work_dir=x"),
    ],
)
def test_flags_of_steps_are_checked_before_the_first(
    flag: str, message: str, tmp_path: Path, run_command: Command
) -> None:
    refused = run_command("tools.pretrain", flag, f"--data_dir={tmp_path / 'data'}", code=2)
    assert message in refused.stderr and not (tmp_path / "data").exists()
