"""Optimizer steps on global batches, over the replicas of a strategy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.losses import weighted_binary_crossentropy
from ich_tf.models.dropout import dropout_seed
from ich_tf.models.slice_model import batch_normalizations
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import worker_of
from ich_tf.training.optimizers import apply_gradients, create_variables, scales_loss

# Labels [n, 6] and logits [n, 6] -> loss of each example, float32 [n]. Tasks over series have other
# shapes (`losses.series_loss`).
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# (inputs, labels, step, first) -> inputs, labels of a replica, before forward and backward: step is
# the number of the run's step, int64 [], and first the index of the replica's first example in this
# worker's batch, int32 []. It runs on the replica's device, in its context, and is not compiled.
PrepareBatch = Callable[[Any, tf.Tensor, tf.Tensor, tf.Tensor], tuple[Any, tf.Tensor]]

# A moving average begins as short as this many steps over the steps so far: the initial weights
# would weigh on it for long (as tf.train.ExponentialMovingAverage's num_updates).
_EMA_WARM_UP = 10.0


class Gradients(NamedTuple):
    """Result of the forward and backward pass, summed over the replicas of a global batch.

    Attributes:
      loss: Mean over the global batch, float32 [].
      gradients: Gradients of the trainable variables, times the loss scale.
      statistics: Moving statistics after the pass, mean over the replicas, float32 [k].
    """

    loss: tf.Tensor
    gradients: list[tf.Tensor]
    statistics: tf.Tensor


class TrainingStep:
    """Optimizer steps, one for each global batch.

    On each replica, forward and backward of its part, where XLA may compile; then, in this
    order: the sum over replicas, loss-scale division, clipping, the optimizer, and the moving
    average of the weights. Under a loss scale a step that is not finite on one replica is left
    out on all. Compiling all of it (`Model.compile(jit_compile=True)`) fails with several
    replicas on a CPU.

    The local loss is the sum over local examples / the global batch, so that the sum of the
    replicas' gradients is the gradient of the global mean. Batch normalisation sees a replica's
    part; its moving statistics are averaged over the replicas at each step, so that every replica
    holds, at any time, the values that a checkpoint would hold.

    Attributes:
      model: The model.
      optimizer: Its optimizer, with its variables.
      step: Number of steps taken, int64 []; dropout's seed follows from it.
      skipped: Number of steps in a row that were left out because of the loss scale, int64 [].
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Any,
        strategy: tf.distribute.Strategy,
        *,
        batch_size: int,
        seed: int = 0,
        xla: bool = False,
        clip_norm: float = 0.0,
        accumulation: int = 1,
        ema_decay: float = 0.0,
        loss: Loss = weighted_binary_crossentropy,
        prepare: PrepareBatch | None = None,
        lr_multipliers: Sequence[float] | None = None,
        decays: Sequence[bool] | None = None,
    ) -> None:
        """Creates the optimizer's variables.

        Args:
          model: Model with logits [n, 6], made under `strategy`'s scope.
          optimizer: Result of `make_optimizer`, made under the same scope.
          strategy: Strategy of the replicas.
          batch_size: Examples in a global batch.
          seed: Seed of the dropout masks.
          xla: Whether to compile the forward and backward pass.
          clip_norm: Largest global norm of the summed gradient; 0 does not clip.
          accumulation: Number of parts of a replica's batch, computed one after the other.
          ema_decay: Decay for a step of the weights' moving average; 0 keeps no average.
          loss: Loss of each example.
          prepare: Change of a batch on the devices before the step, such as augmentation; None
            changes nothing.
          lr_multipliers: Factor of the learning rate for each of the model's trainable variables;
            None is 1 for all.
          decays: Whether weight decay reaches each of the model's trainable variables; None decays
            kernels (`optimizers.is_decayed`).

        Raises:
          ConfigError: If replicas and parts do not divide the batch.
        """
        replicas = strategy.num_replicas_in_sync
        if batch_size % (replicas * accumulation):
            raise ConfigError(
                f"batch_size is {batch_size}; it must be a multiple of the {replicas} replicas"
                + (f" times {accumulation} parts." if accumulation > 1 else ".")
            )
        if lr_multipliers is not None or decays is not None:
            raise NotImplementedError("lr_multipliers and decays come with the flat update.")
        self.model, self.optimizer = model, optimizer
        self._strategy = strategy
        self._batch_size, self._accumulation = batch_size, accumulation
        self._seed, self._loss, self._prepare = seed, loss, prepare
        self._clip_norm, self._ema_decay = clip_norm, ema_decay
        self._scales_loss = scales_loss(optimizer)
        self._statistics = _moving_statistics(model)
        with strategy.scope():
            create_variables(optimizer, model.trainable_variables)
            self.step = _replica_variable(tf.constant(0, tf.int64), "step")
            self.skipped = _replica_variable(tf.constant(0, tf.int64), "skipped")
            averaged = model.variables if ema_decay else []
            self._averages = [
                _replica_variable(variable, f"average_{i}") for i, variable in enumerate(averaged)
            ]
        self._forward_backward = tf.function(self._part_gradients, jit_compile=xla or None)
        self._execute = tf.function(self._take_steps)
        self._measure = tf.function(self._measure_gradients)

    def __call__(self, *batches: Any) -> tf.Tensor:
        """Takes a step on each of some batches, in one call to the devices.

        Args:
          *batches: Pairs of distributed values: on each replica the model's input, a tensor or a
            tuple of them, such as images, uint8 or uint16 [batch_size / replicas, H, W, C]; and
            labels, float32 [batch_size / replicas, 6].

        Returns:
          Each batch's loss before its step, mean over the global batch, float32 [len(batches)].
        """
        return self._execute(batches)

    def gradients(
        self, inputs: Any, labels: Any, *, part: int | None = None, compiled: bool = True
    ) -> Gradients:
        """Computes the gradients of a batch; only the moving statistics are changed.

        Args:
          inputs: Distributed inputs, as for a step.
          labels: Distributed labels, as for a step.
          part: Index of the replica whose batch every replica was given. Each computes as that
            replica would, and the result is one device's, not summed. None sums over the replicas,
            as a step does.
          compiled: Whether XLA compiles, if it does for a step; False needs a `part`.
        """
        number = tf.constant(-1 if part is None else part)
        return Gradients(*self._measure(inputs, labels, number, part is None, compiled))

    @property
    def traces(self) -> int:
        """Number of traces of a call: one for each number of batches that were given at once."""
        return int(self._execute.experimental_get_tracing_count())

    @property
    def state(self) -> dict[str, Any]:
        """Variables that a checkpoint must hold beside model and optimizer, by name."""
        return {"step": self.step, "skipped": self.skipped, "averages": list(self._averages)}

    @property
    def statistics(self) -> list[tf.Variable]:
        """Moving statistics of the batch normalisation layers that learn."""
        return list(self._statistics)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Puts the moving average, if there is one, into the model for the time of a block."""
        if not self._averages:
            yield
            return
        weights = [variable.numpy() for variable in self.model.variables]
        for variable, average in zip(self.model.variables, self._averages, strict=True):
            variable.assign(average.read_value())
        try:
            yield
        finally:
            for variable, value in zip(self.model.variables, weights, strict=True):
                variable.assign(value)

    def _take_steps(self, batches: Sequence[tuple[Any, Any]]) -> tf.Tensor:
        losses = self._strategy.run(self._replica_steps, args=(batches,))
        return self._strategy.experimental_local_results(losses)[0]

    def _replica_steps(self, batches: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        return tf.stack([self._replica_step(inputs, labels) for inputs, labels in batches])

    def _replica_step(self, inputs: Any, labels: tf.Tensor) -> tf.Tensor:
        # Read only for a step that may be left out: a network has a hundred of them.
        former_statistics = self._read_statistics() if self._scales_loss else None
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        inputs, labels = self._prepared(inputs, labels, replica)
        loss, gradients, statistics = self._replica_gradients(inputs, labels)
        finite = tf.constant(True)
        if self._scales_loss:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
            # The optimizer leaves the step out by itself; batch normalisation would not.
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
            statistics = tf.where(finite, statistics, former_statistics)
        if self._clip_norm:
            # An infinite norm makes every gradient NaN: the loss scale's check still sees it.
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        self._set_statistics(statistics)
        apply_gradients(self.optimizer, gradients, self.model.trainable_variables)
        self.step.assign_add(1)
        self.skipped.assign(tf.where(finite, tf.zeros([], tf.int64), self.skipped + 1))
        self._update_averages()
        return loss

    def _prepared(
        self, inputs: Any, labels: tf.Tensor, replica: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        if self._prepare is None:
            return inputs, labels
        first = replica % worker_of(self._strategy).replicas * labels.shape[0]
        return self._prepare(inputs, labels, self.step.read_value(), first)

    def _replica_gradients(self, inputs: Any, labels: tf.Tensor) -> Gradients:
        replica = tf.distribute.get_replica_context()
        local = self._local_gradients(
            inputs, labels, replica.replica_id_in_sync_group, self._forward_backward
        )
        shares = [local.statistics / replica.num_replicas_in_sync] if self._statistics else []
        # In one call, which may send them together.
        loss, gradients, shares = replica.all_reduce(
            tf.distribute.ReduceOp.SUM, (local.loss, local.gradients, shares)
        )
        return Gradients(loss, gradients, shares[0] if shares else local.statistics)

    def _local_gradients(
        self, inputs: Any, labels: tf.Tensor, replica: tf.Tensor, compute: Callable[..., Any]
    ) -> Gradients:
        """Sums over the parts of one replica's batch, which are computed one after the other."""
        scale = self.optimizer.loss_scale if self._scales_loss else tf.ones([])
        first_part = tf.cast(replica, tf.int64) * self._accumulation
        loss: Any = None
        gradients: list[tf.Tensor] = []
        size = labels.shape[0] // self._accumulation
        for part in range(self._accumulation):
            place = slice(part * size, (part + 1) * size)
            # The seed has the part's number in the global batch, so that dropout draws the same
            # masks however the batch is cut.
            seed = tf.stack([(self._seed << 32) + self.step.read_value(), first_part + part])
            with tf.control_dependencies([] if loss is None else [loss, *gradients]):
                part_inputs = tf.nest.map_structure(operator.itemgetter(place), inputs)
                part_loss, part_gradients = compute(part_inputs, labels[place], scale, seed)
                if loss is None:
                    loss, gradients = part_loss, list(part_gradients)
                    continue
                loss += part_loss
                gradients = [a + b for a, b in zip(gradients, part_gradients, strict=True)]
        with tf.control_dependencies([loss]):
            return Gradients(loss, gradients, self._read_statistics())

    def _part_gradients(
        self, inputs: Any, labels: tf.Tensor, scale: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape, dropout_seed(seed):
            logits = self.model(inputs, training=True)
            loss = tf.reduce_sum(self._loss(labels, logits)) / self._batch_size
            scaled_loss = loss * scale
        gradients = tape.gradient(scaled_loss, self.model.trainable_variables)
        return loss, gradients

    def _measure_gradients(
        self, inputs: Any, labels: Any, part: tf.Tensor, together: bool, compiled: bool
    ) -> Gradients:
        compute = self._forward_backward if compiled else self._part_gradients

        def measure(inputs: Any, labels: tf.Tensor) -> Gradients:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            inputs, labels = self._prepared(inputs, labels, replica if together else part)
            if together:
                return self._replica_gradients(inputs, labels)
            return self._local_gradients(inputs, labels, part, compute)

        results = self._strategy.run(measure, args=(inputs, labels))
        local_results = self._strategy.experimental_local_results
        return Gradients(*tf.nest.map_structure(lambda value: local_results(value)[0], [*results]))

    def _read_statistics(self) -> tf.Tensor:
        values = [tf.reshape(variable.read_value(), [-1]) for variable in self._statistics]
        return tf.concat(values, axis=0) if values else tf.zeros([0])

    def _set_statistics(self, values: tf.Tensor) -> None:
        if not self._statistics:
            return
        if self._strategy.num_replicas_in_sync == 1 and not self._scales_loss:
            return
        sizes = [variable.shape.num_elements() for variable in self._statistics]
        for variable, value in zip(self._statistics, tf.split(values, sizes), strict=True):
            variable.assign(tf.reshape(value, variable.shape))

    def _update_averages(self) -> None:
        if not self._averages:
            return
        steps = tf.cast(self.step.read_value(), tf.float32)
        decay = tf.minimum(self._ema_decay, (1 + steps) / (_EMA_WARM_UP + steps))
        for average, variable in zip(self._averages, self.model.variables, strict=True):
            value = tf.cast(variable.read_value(), average.dtype)
            average.assign(average * decay + value * (1 - decay))


def _moving_statistics(model: keras.Model) -> list[tf.Variable]:
    return [
        variable
        for layer in batch_normalizations(model)
        if layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def _replica_variable(initial: Any, name: str) -> tf.Variable:
    """Makes a variable that each replica changes by itself, all of them alike."""
    return tf.Variable(
        initial,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
