import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from absl import flags

from ich_tf.errors import ConfigError
from ich_tf.runtime.command import config_from_flags, define_flags
from ich_tf.runtime.flagfiles import expand
from ich_tf.training.config import TrainConfig
from ich_tf.training.config_parts import PARTS, AugmentationConfig, OptimizerConfig
from tests.support.commands import Command

RECIPES = [
    "base",
    "resnet50",
    "resnet50_strong",
    "efficientnet_b4",
    "efficientnet_b4_strong",
    "smoke",
    "demo",
    "resnet50_segmentation",
    "efficientnet_b4_segmentation",
    "smoke_segmentation",
    "demo_segmentation",
]


@pytest.fixture
def parse(monkeypatch):
    """Parses flags as a command would, into flags of its own."""
    values = flags.FlagValues()
    for kind in ("", "_bool", "_integer", "_float", "_string", "_list"):
        name = f"DEFINE{kind}"
        define = getattr(flags, name)
        monkeypatch.setattr(flags, name, lambda *args, d=define: d(*args, flag_values=values))
    define_enum = flags.DEFINE_enum
    monkeypatch.setattr(flags, "DEFINE_enum", lambda *args: define_enum(*args, flag_values=values))
    monkeypatch.setattr(flags, "FLAGS", values)
    define_flags(TrainConfig)

    def from_arguments(*arguments):
        values(["train", *expand(arguments)])
        return config_from_flags(TrainConfig)

    return from_arguments


def test_every_field_has_help() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))


def test_the_fields_are_those_of_the_parts_in_their_order() -> None:
    names = [field.name for part in PARTS for field in dataclasses.fields(part)]
    assert names == [field.name for field in dataclasses.fields(TrainConfig)]
    assert len(set(names)) == len(names)
    assert list(TrainConfig.HEADINGS.values()) == [part.HEADING for part in PARTS]


def test_config_json_is_flat_and_keeps_its_keys() -> None:
    """A work dir of an earlier version continues."""
    values = json.loads(TrainConfig().to_json())
    assert list(values)[:3] == ["data_dir", "work_dir", "overwrite"]
    assert list(values)[-1] == "tracker"
    assert not any(isinstance(value, dict) for value in values.values())


def test_a_part_checks_itself() -> None:
    assert AugmentationConfig(rotate=15).rotate == 15.0
    with pytest.raises(ConfigError, match="shift is 1.0; it must be in"):
        AugmentationConfig(shift=1.0)
    with pytest.raises(ConfigError, match="optimizer is 'adamw'; it must be another"):
        OptimizerConfig(optimizer="adamw", lookahead=True)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ({"backbone": "bigru", "weights": "none"}, "flip", True),
        ({"backbone": "bigru", "weights": "none"}, "sequence", "transformer"),
        ({"backbone": "transformer", "weights": "none"}, "freeze_bn", True),
        ({"sequence": "bigru"}, "neighbours", 3),
        ({"sequence": "transformer"}, "mixup", 0.2),
        ({"sequence": "bigru"}, "negative_fraction", 0.5),
        ({"sequence": "bigru"}, "segmentation", True),
        ({}, "mask_weight", 0.5),
        ({"ema_decay": 0.9}, "self_training", 0.5),
        ({"segmentation": True}, "self_training", 0.5),
        ({}, "pooling", "lse"),
        ({"segmentation": True}, "mixup", 0.2),
        ({"segmentation": True}, "mask_weight", 0.0),
        ({"segmentation": True, "pooling": "lse", "mask_weight": 0.0}, "dropout", 0.2),
    ],
)
def test_options_for_other_training_examples_keep_their_defaults(
    kind: dict[str, Any], field: str, value: Any
) -> None:
    TrainConfig(**kind)
    with pytest.raises(ConfigError, match=f"^{field} is .*; it must be .* with(out)? --"):
        TrainConfig(**kind, **{field: value})


def test_defaults_are_the_resnet50_recipe(
    parse: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(request.config.rootpath)
    assert parse("--flagfile=configs/resnet50.flags") == TrainConfig()
    config = TrainConfig()
    assert (config.backbone, config.image_size, config.batch_size) == ("resnet50", 224, 32)
    assert (config.epochs, config.learning_rate, config.lr_decay) == (5, 5e-4, 0.8)
    assert (config.data_dir, config.work_dir) == ("data/tfrecords", "runs/resnet50")


def test_efficientnet_recipe(
    parse: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(request.config.rootpath)
    config = parse("--flagfile=configs/efficientnet_b4.flags", "--epochs=1")
    assert (config.backbone, config.image_size, config.batch_size) == ("efficientnet_b4", 256, 16)
    assert (config.learning_rate, config.dropout, config.schedule) == (1e-4, 0.2, "constant")
    assert config.epochs == 1  # the last value wins


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid(
    name: Any, parse: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(request.config.rootpath)
    assert isinstance(parse(f"--flagfile=configs/{name}.flags"), TrainConfig)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone", "vgg"),
        ("weights", ""),
        ("image_size", 16),
        ("image_size", 64.0),
        ("batch_size", 0),
        ("epochs", -1),
        ("dropout", 1.0),
        ("bn_momentum", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("lr_decay", 1.5),
        ("warmup_epochs", 5.0),
        ("weight_decay", 0.1),
        ("weight_decay", -0.1),
        ("clip_norm", -1.0),
        ("shift", 1.0),
        ("rotate", 181.0),
        ("rotate", -1.0),
        ("scale", -0.1),
        ("seed", -1),
        ("seed", True),
        ("flip", 1),
        ("validation_fold", -1),
        ("strategy", "tpu"),
        ("cpu_replicas", 2),
        ("mixed_precision", "half"),
        ("xla", "yes"),
        ("max_steps_per_epoch", -5),
    ],
)
def test_a_bad_value_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} is .*; it must be"):
        TrainConfig(**{field: value})


def test_fields_that_contradict() -> None:
    with pytest.raises(ConfigError, match=r"weights is 'imagenet'.*tiny"):
        TrainConfig(backbone="tiny")
    with pytest.raises(ConfigError, match="batch_size is 32; it must be a multiple of cpu_rep"):
        TrainConfig(strategy="mirrored", cpu_replicas=3)


def test_an_integer_is_a_fine_float() -> None:
    assert TrainConfig(rotate=15).rotate == 15.0
    assert type(TrainConfig(rotate=15).rotate) is float


def test_json_round_trip() -> None:
    config = TrainConfig(seed=3, flip=True, shift=0.1, weights="some/file.h5")
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "JSON object"),
        ('{"sede": 1}', "do not exist: sede"),
        ('{"seed": "1"}', "seed is '1'"),
    ],
)
def test_from_json_refuses(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_json(text)


def test_differences_leave_places_out() -> None:
    left = TrainConfig(work_dir="a", seed=1)
    right = TrainConfig(work_dir="b", overwrite=True, seed=2)
    assert left.differences(right) == ["seed: 1 here, 2 there"]


def test_help_and_config_load_no_tensorflow() -> None:
    code = (
        "import sys, ich_tf.training.config, ich_tf.train; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--dropout=1.5", "dropout is 1.5; it must be in"),
        ("--backbone=vgg", "a network of keras.applications, such as vgg19, vgg16"),
        ("--flagfile=configs/none.flags", "none.flags"),
        ("epochs=3", "Not a flag: epochs=3"),
    ],
)
def test_train_exits_with_2_on_wrong_usage(flag: str, message: str, run_command: Command) -> None:
    done = run_command("ich_tf.train", flag, code=2)
    assert message in done.stderr


def test_neighbours_are_needed_to_reverse_them() -> None:
    with pytest.raises(ConfigError, match="neighbours is 1; it must be 3 or 5 with --flip_z"):
        TrainConfig(flip_z=True)


def test_pools_name_the_flag_that_recipes_over_series_lack() -> None:
    for pool in ({"backbone": "attention"}, {"sequence": "max"}):
        with pytest.raises(ConfigError, match="--noreverse"):
            TrainConfig(weights="none", reverse=True, **pool)
