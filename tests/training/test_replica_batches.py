"""Batches given for a replica, and the warning of small ones."""

import logging

import pytest

from ich_tf.errors import ConfigError
from ich_tf.training.config import TrainConfig
from ich_tf.training.replica_batches import warn_of_small_parts, with_replica_batches


@pytest.mark.parametrize(
    ("settings", "replicas", "expected"),
    [
        ({}, 8, (32, 0.1, 0.0)),
        ({"batch_per_replica": 32}, 1, (32, 0.1, 0.0)),
        ({"batch_per_replica": 32}, 4, (128, 0.4, 1.0)),
        ({"batch_per_replica": 32, "epochs": 1}, 4, (128, 0.4, 0.5)),
        ({"batch_per_replica": 32, "warmup_epochs": 3.0}, 4, (128, 0.4, 3.0)),
        ({"batch_per_replica": 16}, 1, (16, 0.05, 0.0)),
        ({"batch_per_replica": 6, "accumulation": 3}, 5, (30, 0.09375, 0.0)),
    ],
)
def test_learning_rate_and_warm_up_follow_the_batch(
    settings: dict, replicas: int, expected: tuple
) -> None:
    config = TrainConfig(**{"learning_rate": 0.1, "epochs": 5, "batch_size": 32, **settings})
    resolved = with_replica_batches(config, replicas)
    found = (resolved.batch_size, resolved.learning_rate, resolved.warmup_epochs)
    assert found == pytest.approx(expected)
    # What config.json holds is continued from as it is.
    assert with_replica_batches(resolved, replicas) == resolved


def test_the_rule_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        with_replica_batches(TrainConfig(batch_per_replica=64), 2)
    assert "batch of 128, 64 for each of 2 replicas: learning rate 0.0005" in caplog.text
    assert "becomes 0.002, with a warm-up of 1 epochs" in caplog.text


@pytest.mark.parametrize(("slices", "warns"), [(16, False), (15, True), (2, True)])
def test_few_slices_at_once_are_warned_of(
    slices: int, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_small_parts(slices, "16 in a batch, 8 parts", synchronized=False)
    assert (f"sees {slices} slices at once" in caplog.text) == warns
    assert ("--sync_bn" in caplog.text) == warns


@pytest.mark.parametrize(
    "settings",
    [
        {"sync_bn": True, "accumulation": 2},
        {"sync_bn": True, "freeze_bn": True},
        {"sync_bn": True, "xla": "on"},
        {"batch_per_replica": 3, "accumulation": 2},
        {"seed": 2**63},
    ],
)
def test_what_contradicts_is_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(**settings)
