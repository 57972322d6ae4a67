"""Layers that rest at first, and learning rates by depth."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import ConfigError, Terminated
from ich_tf.models.end_to_end import EndToEndSpec, parts
from ich_tf.models.saved import load_best
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras
from ich_tf.training import trainer
from ich_tf.training.config import TrainConfig
from ich_tf.training.config_parts import FineTuningConfig
from ich_tf.training.fine_tuning import backbone_layers, layer_depths, lr_multipliers
from ich_tf.training.loop import TrainingLoop
from tests.support.runs import assert_same_run, smoke_config

WINDOWS = ("brain", "subdural", "soft")
NETWORK = ModelSpec("tiny", (32, 32, 3), 32, WINDOWS)


def factors(model, spec, **changes) -> dict[str, float]:
    config = FineTuningConfig(**changes)
    names = [variable.name.removesuffix(":0") for variable in model.trainable_variables]
    return dict(zip(names, lr_multipliers(model, spec, config), strict=True))


def test_depth_is_the_longest_path_of_layers_with_weights() -> None:
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(x)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    side = keras.layers.Conv2D(4, 1, name="side")(x)
    for name in ("one", "two"):
        x = keras.layers.Conv2D(4, 3, padding="same", name=name)(keras.layers.ReLU()(x))
    x = keras.layers.Add(name="add")([x, side])
    inner = keras.Model(inputs, x)
    image = keras.Input((8, 8, 3))
    behind = keras.layers.Dense(2, name="behind")(inner(image))
    depths = layer_depths(keras.Model(image, behind))
    names = {layer.name: depths[id(layer)] for layer in inner.layers}
    assert {name: names[name] for name in ("stem", "stem_bn", "side", "one", "two", "add")} == {
        "stem": 1, "stem_bn": 1, "side": 2, "one": 2, "two": 3, "add": 3,
    }  # fmt: skip
    assert 4 in depths.values()


def test_rates_rise_from_the_first_layer_to_the_head() -> None:
    model = NETWORK.build()
    assert set(factors(model, NETWORK).values()) == {1.0}
    by_name = factors(model, NETWORK, layer_decay=0.1, head_lr_multiplier=5.0)
    assert by_name["logits/kernel"] == by_name["logits/bias"] == 5.0
    rest = [factor for name, factor in by_name.items() if not name.startswith("logits")]
    assert rest[0] == pytest.approx(0.1) and rest == sorted(rest) and rest[-1] < 1
    steps = np.diff(np.log(sorted(set(rest))))
    np.testing.assert_allclose(steps, steps[0])


def test_a_model_over_series_is_the_head_of_the_whole() -> None:
    spec = EndToEndSpec(
        network=NETWORK, series=SeriesSpec("transformer", 32, 8, 1, 0.0, False, (0.1,) * 6)
    )
    model = spec.build()
    by_name = factors(model, spec, layer_decay=0.5, head_lr_multiplier=3.0)
    series = {variable.name.removesuffix(":0") for variable in parts(model)[1].trainable_variables}
    assert {by_name[name] for name in series} == {3.0} == {by_name["logits/kernel"]}
    assert sorted(by_name.values())[0] == pytest.approx(0.5)
    names = {layer.name for layer in backbone_layers(model, spec)}
    assert "logits" not in names and len(names) >= 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_epochs": 5}, "freeze_epochs is 5; it must be below epochs, which is 5"),
        ({"optimizer": "radam", "layer_decay": 0.5}, "1.0 with an optimizer of tensorflow-addons"),
        ({"lookahead": True, "freeze_epochs": 1}, "0 with an optimizer of tensorflow-addons"),
        ({"backbone": "bigru", "weights": "none", "freeze_epochs": 1}, "which sees no images"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "mirrored", "cpu_replicas": 2},
        {"xla": "on", "accumulation": 2, "mixed_precision": "float16"},
    ],
)
def test_the_backbone_rests_and_then_learns_and_the_switch_is_continued_to_the_bit(
    changes: dict, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gradient, decay, moments or statistics in the first epoch; the run is cut after it."""
    config = smoke_config(
        data_dir, tmp_path / "whole", freeze_epochs=1, max_steps_per_epoch=2, optimizer="adamw",
        weight_decay=0.5, ema_decay=0.9, layer_decay=0.5, head_lr_multiplier=2.0,
        tensorboard=False, self_check=False, **changes,
    )  # fmt: skip
    loops = []
    starts = []
    run = TrainingLoop.run

    def noted_run(self: TrainingLoop) -> None:
        loops.append(self)
        starts.append([variable.numpy() for variable in self.step.model.variables])
        run(self)

    monkeypatch.setattr(TrainingLoop, "run", noted_run)
    trainer.train(config)
    cut = dataclasses.replace(config, work_dir=str(tmp_path / "cut"))
    with monkeypatch.context() as patch:
        patch.setattr(
            TrainingLoop,
            "_must_stop",
            lambda self: (self.progress.epoch, self.progress.step) == (1, 0),
        )
        with pytest.raises(Terminated, match="after 1 epochs"):
            trainer.train(cut)
    rested, _ = load_best(tmp_path / "cut")
    for variable, start in zip(rested.variables, starts[1], strict=True):
        assert np.array_equal(variable, start) != variable.name.startswith("logits"), variable.name
    slots = loops[1].step.optimizer.slots
    names = [variable.name for variable in rested.trainable_variables]
    for name, moments in zip(names, slots, strict=True):
        for moment in moments:
            assert np.any(moment.read_value()) == name.startswith("logits"), name
    trainer.train(cut)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    # All of it has learnt by now, with moments of two steps.
    for variable, start in zip(loops[2].step.model.variables, starts[1], strict=True):
        assert not np.array_equal(variable, start), variable.name
    optimizer = loops[2].step.optimizer
    assert (int(optimizer.iterations.numpy()), int(optimizer.restarted.numpy())) == (4, 2)
    assert all(np.any(moment.read_value()) for moments in optimizer.slots for moment in moments)
