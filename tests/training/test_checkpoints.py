import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.models import run_files
from ich_tf.models.origins import Origin
from ich_tf.models.saved import load_best, save_best
from ich_tf.models.slice_model import build_model
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime import files
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import make_strategy
from ich_tf.training.checkpoints import RunProgress, TrainingState
from ich_tf.training.config import TrainConfig
from ich_tf.training.optimizers import make_optimizer
from ich_tf.training.run_log import write_run
from ich_tf.training.work_dir import can_resume, check_work_dir, delete_run, start_work_dir

SPEC = ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"), dropout=0.1)


def images():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A work dir with a best model, and its logits."""
    work_dir = tmp_path_factory.mktemp("saved") / "run"
    model = SPEC.build()
    model(images(), training=True)  # moving statistics other than the initial ones
    save_best(work_dir, model, SPEC, epoch=1, val_loss=0.5)
    return work_dir, model(images()).numpy()


@pytest.fixture
def work_dir(saved, tmp_path):
    return shutil.copytree(saved[0], tmp_path / "run")


@pytest.mark.parametrize("strategy", [("one", 0), ("mirrored", 2)])
def test_round_trip(saved: Any, strategy: Any) -> None:
    with make_strategy(*strategy).scope():
        model, spec = load_best(saved[0])
    assert spec == SPEC
    np.testing.assert_allclose(model(images()), saved[1], atol=1e-6)
    assert sorted(path.name for path in saved[0].iterdir()) == ["best.weights.h5", "model.json"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b4"])
def test_both_files_hold_all_of_the_backbones(backbone: str, tmp_path: Path) -> None:
    """Also that Keras's Normalization, which tf.train.Checkpoint restores wrongly, is not there."""
    spec = ModelSpec(backbone, (40, 40, 1), 32, ("brain",))
    model = spec.build()
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.01, 0.02, w.shape) for w in model.get_weights()])
    save_best(tmp_path, model, spec, epoch=1, val_loss=0.5)
    optimizer = make_optimizer(TrainConfig(optimizer="sgd"), 10)
    build(optimizer, model)
    TrainingState(tmp_path, model, optimizer).save()
    batch = rng.integers(0, 256, (2, 40, 40, 1), np.uint8)
    expected = model(batch).numpy()

    loaded, _ = load_best(tmp_path)
    for left, right in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(loaded(batch), expected, rtol=1e-5)

    loaded.set_weights([np.zeros_like(w) for w in model.get_weights()])
    optimizer = make_optimizer(TrainConfig(optimizer="sgd"), 10)
    build(optimizer, loaded)
    TrainingState(tmp_path, loaded, optimizer).restore()
    np.testing.assert_allclose(loaded(batch), expected, rtol=1e-5)


def test_model_saved_from_replicas(tmp_path: Path) -> None:
    with make_strategy("mirrored", 2).scope():
        model = SPEC.build()
    save_best(tmp_path, model, SPEC, epoch=1, val_loss=0.5)
    loaded, _ = load_best(tmp_path)
    np.testing.assert_allclose(loaded(images()), model(images()), atol=1e-6)


def test_killed_between_the_two_files_the_old_weights_stand(
    work_dir: Path, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SPEC.build()
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", replace_all_but_weights)
        with pytest.raises(KeyboardInterrupt):
            save_best(work_dir, model, SPEC, epoch=2, val_loss=0.4)
    loaded, _ = load_best(work_dir)
    np.testing.assert_allclose(loaded(images()), saved[1], atol=1e-6)
    save_best(work_dir, model, SPEC, epoch=2, val_loss=0.4)
    np.testing.assert_allclose(load_best(work_dir)[0](images()), model(images()), atol=1e-6)


def replace_all_but_weights(path, target):
    if str(target).endswith(run_files.BEST_WEIGHTS):
        raise KeyboardInterrupt
    shutil.move(path, target)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def other_model(work_dir):
    path = work_dir / "best.weights.h5"
    build_model("tiny", (32, 32, 1), 32).save_weights(path)
    sha256 = files.file_sha256(path)
    edit_json(work_dir / "model.json", lambda content: content.update(sha256=sha256))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such work dir.*ich_tf.train"),
        (lambda d: (d / "model.json").unlink(), "holds no trained model"),
        (lambda d: (d / "best.weights.h5").unlink(), "best.weights.h5: no such file"),
        (lambda d: flip_a_bit(d / "best.weights.h5"), "SHA-256"),
        (lambda d: (d / "best.weights.h5").write_bytes(b""), "SHA-256"),
        (lambda d: (d / "model.json").write_text("{"), "does not describe a model"),
        (lambda d: (d / "model.json").write_text("[]"), "does not describe a model"),
        (
            lambda d: edit_json(d / "model.json", lambda c: c["spec"].update(version=2)),
            "version is 2",
        ),
        (
            lambda d: edit_json(d / "model.json", lambda c: c["spec"].update(backbone="vgg")),
            "backbone is 'vgg'",
        ),
        (
            lambda d: edit_json(d / "model.json", lambda c: c["spec"]["classes"].reverse()),
            "classes are any",
        ),
        (
            lambda d: edit_json(d / "model.json", lambda c: c["spec"]["windows"].pop()),
            "record_shape is",
        ),
        (other_model, "not weights of the tiny"),
    ],
)
def test_each_damage_is_one_clear_error(damage: Any, message: str, work_dir: Path) -> None:
    damage(work_dir)
    with pytest.raises(InputError, match=message):
        load_best(work_dir)


def build(optimizer, model):
    variables = model.trainable_variables
    optimizer.build(variables, [1.0] * len(variables), [False] * len(variables))


def make_state(work_dir, optimizer="adam"):
    model = build_model("tiny", (32, 32, 3), 32)
    made = make_optimizer(TrainConfig(optimizer=optimizer), 10)
    build(made, model)
    return TrainingState(work_dir, model, made), model, made


def test_state_round_trip(tmp_path: Path) -> None:
    state, model, optimizer = make_state(tmp_path)
    assert not state.restore()
    assert state.progress == RunProgress() and state.progress.best_loss == float("inf")
    gradients = [tf.ones_like(variable) for variable in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    assert state.progress.finish_epoch(0.1 + 0.2)
    state.save()
    assert not state.progress.finish_epoch(0.4)
    state.progress.step, state.progress.loss_sum = 3, 1 / 3
    state.save()

    again, other_model, other_optimizer = make_state(tmp_path)
    assert again.restore()
    expected = RunProgress(epoch=2, step=3, loss_sum=1 / 3, best_loss=0.1 + 0.2, best_epoch=1)
    assert again.progress == expected
    assert int(other_optimizer.iterations.read_value()) == 1
    for left, right in zip(
        [*model.weights, *optimizer.variables],
        [*other_model.weights, *other_optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


@pytest.mark.parametrize("name", ["run", "run[1]*?"])
def test_the_last_three_are_kept(tmp_path: Path, name: str) -> None:
    work_dir = tmp_path / name
    assert not can_resume(work_dir)
    state, _, _ = make_state(work_dir)
    for step in range(5):
        state.progress.step = step
        state.save()
    names = sorted(path.name for path in (work_dir / "checkpoints").glob("*.index"))
    assert names == ["ckpt-3.index", "ckpt-4.index", "ckpt-5.index"]
    assert can_resume(work_dir)
    again, _, _ = make_state(work_dir)
    assert again.restore()
    assert again.progress.step == 4


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, _, _ = make_state(tmp_path)
    for step in (1, 2, 3):
        state.progress.step = step
        state.save()
    cut(tmp_path / "checkpoints" / "ckpt-3.data-00000-of-00001")
    (tmp_path / "checkpoints" / "ckpt-2.index").unlink()
    again, _, _ = make_state(tmp_path)
    assert again.restore()
    assert again.progress.step == 1
    assert "ckpt-3: not readable" in caplog.text


def test_state_of_another_model_or_damaged(tmp_path: Path) -> None:
    state, _, _ = make_state(tmp_path)
    state.save()
    with pytest.raises(InputError, match=r"damaged or of another model.*--overwrite"):
        make_state(tmp_path, optimizer="sgd")[0].restore()
    cut(next((tmp_path / "checkpoints").glob("*.data-*")))
    with pytest.raises(InputError, match="damaged or of another model"):
        make_state(tmp_path)[0].restore()


def test_state_of_a_former_version(tmp_path: Path) -> None:
    """Whose optimizer was Keras's."""
    model = build_model("tiny", (32, 32, 3), 32)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    TrainingState(tmp_path, model, optimizer).save()
    with pytest.raises(InputError, match=r"^\S*ckpt-1: .*former version of ich_tf.*--overwrite"):
        make_state(tmp_path)[0].restore()


def test_work_dir_rules(tmp_path: Path) -> None:
    config = TrainConfig(work_dir=str(tmp_path))
    other = dataclasses.replace(config, seed=1, dropout=0.5)
    check_work_dir(tmp_path, config)
    start_work_dir(tmp_path, config)
    check_work_dir(tmp_path, other)  # nothing finished: free to use
    make_state(tmp_path)[0].save()
    check_work_dir(tmp_path, config)
    check_work_dir(tmp_path, dataclasses.replace(other, overwrite=True))
    with pytest.raises(InputError, match=r"seed: 1 here, 0 there; dropout: 0.5 here, 0.0 there"):
        check_work_dir(tmp_path, other)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        check_work_dir(tmp_path, config)
    delete_run(tmp_path)
    start_work_dir(tmp_path, other)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_other_data_are_refused_by_what_differs(tmp_path: Path) -> None:
    config = TrainConfig(work_dir=str(tmp_path))
    data = {"sha256": "a", "records": 5}
    start_work_dir(tmp_path, config)
    write_run(tmp_path, data, Origin("random"), {})
    make_state(tmp_path)[0].save()
    check_work_dir(tmp_path, config, data)
    with pytest.raises(InputError, match=r"other data \(records: 6 here, 5 there\)"):
        check_work_dir(tmp_path, config, {"sha256": "a", "records": 6})
    check_work_dir(tmp_path, dataclasses.replace(config, overwrite=True), {"sha256": "b"})


def test_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    config = TrainConfig(work_dir=str(tmp_path))
    start_work_dir(tmp_path, config)
    make_state(tmp_path)[0].save()
    left = tmp_path / "checkpoints" / "ckpt-2_temp"
    left.mkdir()
    (left / "part-00000-of-00001.data").touch()
    start_work_dir(tmp_path, config)
    assert not left.exists()
    assert can_resume(tmp_path)


def test_a_model_without_its_state_is_not_overwritten(work_dir: Path) -> None:
    config = TrainConfig(work_dir=str(work_dir))
    with pytest.raises(InputError, match="no checkpoint to continue from"):
        check_work_dir(work_dir, config)
    check_work_dir(work_dir, dataclasses.replace(config, overwrite=True))


def test_a_work_dir_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(InputError, match="is a file"):
        check_work_dir(path, TrainConfig())
