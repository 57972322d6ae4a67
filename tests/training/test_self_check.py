from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.training.self_check import XLA_TOLERANCE, check_step
from ich_tf.training.step import TrainingStep
from ich_tf.training.weight_check import SelfCheckError, WeightCheck
from tests.support.marks import slow
from tests.support.steps import Run, batch, difference, distribute, replicas, with_masks


def check(run, precision="float32", xla=False):
    return check_step(
        run.step, run.strategy, *distribute(run.strategy, *batch(0)), precision=precision, xla=xla
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("number", "xla"), [(1, True), (2, False), slow(2, True), slow(4, False)])
def test_a_right_step_passes_and_is_left_as_it_was(number: int, xla: bool, precision: str) -> None:
    run = Run(replicas(number), xla=xla, precision=precision, dropout=0.3, accumulation=2)
    before = run.weights()
    found = check(run, precision, xla)
    assert ("replicas" in found, "xla" in found) == (number > 1, xla)
    assert found.get("replicas", 0) < 1e-6
    assert found.get("xla", 0) < XLA_TOLERANCE[precision] / 2
    assert difference(run.weights(), before) == 0
    assert int(run.step.step.read_value()) == 0 and run.step.traces == 0


@pytest.mark.parametrize(("number", "xla"), [slow(2, True)])
def test_a_step_with_masks_passes(number: int, xla: bool) -> None:
    run = Run(replicas(number), xla=xla, segmentation=True)
    batch_ = distribute(run.strategy, *with_masks(*batch(0)))
    found = check_step(run.step, run.strategy, *batch_, precision="float32", xla=xla)
    assert found["replicas"] < 1e-6 and found.get("xla", 0) < XLA_TOLERANCE["float32"] / 2


def test_nothing_to_compare() -> None:
    assert check(Run(replicas(1))) == {}


def without_sum(self, sums):
    """Each replica goes by its own gradient, as if the reduction were forgotten."""
    return sums


def doubled(self, sums):
    return 2 * real_sum(self, sums)


real_sum = TrainingStep._all_reduced


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("wrong", [without_sum, doubled])
def test_a_wrong_step_is_found(wrong: Any, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingStep, "_all_reduced", wrong)
    with pytest.raises(SelfCheckError, match=r"gradients of 2 replicas differ.*--strategy=one"):
        check(Run(replicas(2), precision=precision), precision)


def test_wrong_compiled_code_is_found() -> None:
    run = Run(replicas(1), xla=True)
    real = run.step._replica_sums

    def wrong(*args):
        sums, former = real(*args)
        return sums * tf.cast(tf.where(tf.range(sums.shape[0]) < 100, -1, 1), tf.float32), former

    run.step._replica_sums = wrong
    with pytest.raises(SelfCheckError, match="XLA's gradients differ.*--xla=off"):
        check(run, xla=True)


@pytest.mark.parametrize("where", [0, -1])
def test_an_infinite_gradient_of_the_first_loss_scale_is_no_error(where: Any) -> None:
    run = Run(replicas(2), precision="float16")
    images, labels = batch(0)
    labels[where] = np.inf
    parts = distribute(run.strategy, images, labels)
    assert check_step(run.step, run.strategy, *parts, precision="float16", xla=False) == {}


def test_replicas_that_went_apart_are_found() -> None:
    run = Run(replicas(2))
    run.steps([batch(0)])
    check = WeightCheck(run.model, run.strategy)
    assert check() == ([], [])
    variable = run.model.trainable_variables[0]
    second = run.strategy.experimental_local_results(variable)[1]
    second.assign(second + 1e-6)
    assert check() == ([], [variable.name])
    with pytest.raises(SelfCheckError, match="differs between the replicas"):
        check().require_equal()


@pytest.mark.parametrize("number", [1, 2])
def test_weights_that_are_not_finite_are_named(number: int) -> None:
    run = Run(replicas(number))
    variable = run.model.variables[-1]
    variable.assign(tf.fill(variable.shape, np.nan))
    assert WeightCheck(run.model, run.strategy)() == ([variable.name], [])
