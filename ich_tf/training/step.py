"""Optimizer steps on global batches, over the replicas of a strategy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.losses import weighted_binary_crossentropy
from ich_tf.models.batch_norm import synchronize
from ich_tf.models.slice_model import batch_normalizations
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import replica_variable, worker_of
from ich_tf.training.chunked_pass import ChunkedForwardBackward
from ich_tf.training.flat import flatten, unflatten
from ich_tf.training.forward_backward import ForwardBackward, Loss
from ich_tf.training.heat_map_teacher import HeatMapTeacher
from ich_tf.training.moving_average import MovingAverage
from ich_tf.training.optimizers import Optimizer, is_decayed

# (inputs, labels, step, first) -> inputs, labels of a replica, before forward and backward: step is
# the number of the run's step, int64 [], and first the index of the replica's first example in this
# worker's batch, int32 []. It runs on the replica's device, in its context, and is not compiled.
PrepareBatch = Callable[[Any, Any, tf.Tensor, tf.Tensor], tuple[Any, Any]]


class Gradients(NamedTuple):
    """Result of the forward and backward pass over a global batch, or one replica's part of it.

    Attributes:
      loss: Sum of the examples' losses / the global batch size, float32 [].
      gradients: Gradients of the trainable variables one behind the other, times the loss scale,
        float32 [k].
      statistics: Moving statistics after the pass, mean over the replicas, float32 [s].
    """

    loss: tf.Tensor
    gradients: tf.Tensor
    statistics: tf.Tensor


class TrainingStep:
    """Optimizer steps, one for each global batch.

    On each replica: forward and backward of its part; the sum over the replicas of one vector, of
    gradients, loss and moving statistics; then division by the loss scale, clipping, the optimizer,
    and the moving average of the weights. Under a loss scale a step that is not finite on one
    replica is left out on all.

    XLA compiles all of it as one program on one replica. On several it compiles what comes before
    the sum, and what comes after: with the sum in between it fails on CPUs. What comes after
    changes each replica's own variables, all of them alike.

    Batch normalisation sees a replica's part, or with `sync_bn` the whole batch; its moving
    statistics are averaged over the replicas at each step, so that every replica holds, at any
    time, the values that a checkpoint would hold.

    Attributes:
      model: The model.
      optimizer: Its optimizer, with its variables.
      step: Number of steps taken, int64 []; dropout's seed follows from it.
      skipped: Number of steps in a row that were left out because of the loss scale, int64 [].
      sync_bn: Whether batch normalisation sums over several replicas.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer,
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
        sync_bn: bool = False,
        teacher: HeatMapTeacher | None = None,
        slice_chunk: int = 0,
    ) -> None:
        """Creates the optimizer's variables.

        Args:
          model: Model with logits [n, 6], or the outputs that `loss` takes, made under
            `strategy`'s scope.
          optimizer: Result of `make_optimizer`, made under the same scope.
          strategy: Strategy of the replicas.
          batch_size: Examples in a global batch.
          seed: Seed of the dropout masks, in [0, 2**63).
          xla: Whether to compile the step.
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
          sync_bn: Whether batch normalisation sees the batch of all replicas; without XLA and
            accumulation.
          teacher: Teacher of a network like `model`, made under the same scope, which gets the
            moving average of its weights, and whose heat maps `loss` gets behind the labels. None
            has no teacher.
          slice_chunk: Number of slices of a model that is trained end to end whose activations are
            held at once (`chunked_pass`); 0 holds those of a whole part.

        Raises:
          ConfigError: If replicas and parts do not divide the batch.
        """
        replicas = strategy.num_replicas_in_sync
        if batch_size % (replicas * accumulation):
            raise ConfigError(
                f"batch_size is {batch_size}; it must be a multiple of the {replicas} replicas"
                + (f" times {accumulation} parts." if accumulation > 1 else ".")
            )
        self.model, self.optimizer = model, optimizer
        self._strategy, self._prepare, self._clip_norm = strategy, prepare, clip_norm
        self.sync_bn = sync_bn and replicas > 1
        if self.sync_bn:
            synchronize(model)
        self._local_replicas = worker_of(strategy).replicas
        variables = model.trainable_variables
        with strategy.scope():
            optimizer.build(
                variables,
                lr_multipliers or [1.0] * len(variables),
                decays or [is_decayed(variable) for variable in variables],
            )
            self.step = replica_variable(tf.constant(0, tf.int64), "step")
            self.skipped = replica_variable(tf.constant(0, tf.int64), "skipped")
            self._average = MovingAverage(
                model.variables, ema_decay, keep_in=teacher.variables if teacher else ()
            )
        passing: Callable[..., ForwardBackward] = ForwardBackward
        if slice_chunk:
            passing = functools.partial(ChunkedForwardBackward, slice_chunk=slice_chunk)
        self._pass = passing(
            model,
            loss,
            batch_size=batch_size,
            accumulation=accumulation,
            seed=seed,
            teacher=teacher,
        )
        self._xla = xla
        self._is_one_program = replicas == 1 and optimizer.compiles
        self.follow_trainable()

    def follow_trainable(self) -> None:
        """Learns what is trainable of the model now; the next call is traced anew.

        It may be less than when the step was made, and as much again. The optimizer's state of what
        rests stays as it is.
        """
        self._variables = self.model.trainable_variables
        self._statistics = _moving_statistics(self.model)
        compiled: dict[str, Any] = {"jit_compile": self._xla or None, "autograph": False}
        self._one_program = tf.function(self._whole_step, **compiled)
        # Sums over replicas within the network, and an optimizer that changes all replicas'
        # variables at once, need the outermost function.
        self._replica_sums: Callable[..., Any] = self._local_sums
        if not self.sync_bn:
            self._replica_sums = tf.function(self._local_sums, **compiled)
        self._finish: Callable[..., Any] = self._update_from_sums
        if self.optimizer.compiles:
            self._finish = tf.function(self._update_from_sums, **compiled)
        self._execute = tf.function(self._take_steps, autograph=False)
        self._measure = tf.function(self._measure_gradients, autograph=False)

    def __call__(self, *batches: Any) -> tf.Tensor:
        """Takes a step on each of some batches, in one call to the devices.

        Args:
          *batches: Pairs of distributed values: on each replica the model's input, a tensor or a
            tuple of them, such as images, uint8 or uint16 [batch_size / replicas, H, W, C]; and
            labels, float32 [batch_size / replicas, 6], or a tuple of tensors, such as
            `MaskedLabels`.

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

    def graph(self, *batches: Any) -> Any:
        """Graph of a call on such batches, a GraphDef, to count and look at."""
        return self._execute.get_concrete_function(batches).graph.as_graph_def()

    @property
    def traces(self) -> int:
        """Number of traces of a call: one for each number of batches that were given at once."""
        return int(self._execute.experimental_get_tracing_count())

    @property
    def state(self) -> dict[str, Any]:
        """Variables that a checkpoint must hold beside model and optimizer, by name."""
        averages = list(self._average.averages)
        return {"step": self.step, "skipped": self.skipped, "averages": averages}

    @property
    def statistics(self) -> list[tf.Variable]:
        """Moving statistics of the batch normalisation layers that learn."""
        return list(self._statistics)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Puts the moving average, if there is one, into the model for the time of a block."""
        return self._average.in_place()

    def _take_steps(self, batches: Sequence[tuple[Any, Any]]) -> tf.Tensor:
        if len(batches) == 1:
            return self._take_step(*batches[0])[None]
        # A loop over the stacked batches: the step is traced once, however many it takes.
        stacked = self._strategy.run(_stack, args=(batches,))

        def take(number: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss = self._take_step(*self._strategy.run(_pick, args=(stacked, number)))
            return number + 1, tf.where(tf.range(len(batches)) == number, loss, losses)

        _, losses = tf.while_loop(
            lambda number, _: number < len(batches),
            take,
            [tf.constant(0), tf.zeros([len(batches)])],
            parallel_iterations=1,
        )
        return losses

    def _take_step(self, inputs: Any, labels: Any) -> tf.Tensor:
        losses = self._strategy.run(self._replica_step, args=(inputs, labels))
        return self._strategy.experimental_local_results(losses)[0]

    def _replica_step(self, inputs: Any, labels: Any) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        inputs, labels = self._prepared(inputs, labels, replica)
        if self._is_one_program:
            return self._one_program(inputs, labels)
        sums, former = self._replica_sums(inputs, labels, replica)
        return self._finish(self._all_reduced(sums), former)

    def _prepared(self, inputs: Any, labels: Any, replica: tf.Tensor) -> tuple[Any, Any]:
        if self._prepare is None:
            return inputs, labels
        share = tf.nest.flatten(labels)[0].shape[0]
        first = replica % self._local_replicas * share
        return self._prepare(inputs, labels, self.step.read_value(), first)

    def _whole_step(self, inputs: Any, labels: Any) -> tf.Tensor:
        """A step on the only replica."""
        former = self._former_statistics()
        loss, gradients = self._pass_of(inputs, labels, tf.constant(0))
        statistics = flatten(self._read_statistics()) if self._scales else None
        return self._update(loss, gradients, statistics, former)

    def _local_sums(
        self, inputs: Any, labels: Any, replica: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Passes forward and backward.

        Returns:
          What is summed over the replicas: gradients, loss and moving statistics, float32 [k]; and
          the moving statistics before.
        """
        former = self._former_statistics()
        loss, gradients = self._pass_of(inputs, labels, replica)
        shares = [value / self._strategy.num_replicas_in_sync for value in self._read_statistics()]
        return flatten([*gradients, loss, *shares]), former

    def _all_reduced(self, sums: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)

    def _update_from_sums(self, sums: tf.Tensor, former: tf.Tensor) -> tf.Tensor:
        loss, gradients, statistics = self._parts_of(sums)
        return self._update(loss, [gradients], statistics, former)

    def _update(
        self,
        loss: tf.Tensor,
        gradients: Sequence[tf.Tensor],
        statistics: tf.Tensor | None,
        former: tf.Tensor,
    ) -> tf.Tensor:
        """Takes the step whose gradients are known, on a replica's own variables.

        Args:
          loss: Loss of the global batch.
          gradients: Gradient of each variable, or one vector of all, times the loss scale.
          statistics: Moving statistics to set; None leaves those of the pass.
          former: Moving statistics before the step, for a step that is left out.

        Returns:
          The loss.
        """
        gradients, finite = self._conditioned(gradients)
        if len(gradients) != len(self._variables):
            gradients = unflatten(gradients[0], self._variables)
        if statistics is not None:
            # The optimizer leaves a step out by itself; batch normalisation would not.
            kept = statistics if finite is None else tf.where(finite, statistics, former)
            self._set_statistics(kept)
        self.optimizer.apply(gradients, self._variables, finite)
        self.step.assign_add(1)
        if finite is not None:
            skipped = self.skipped.read_value() + 1
            self.skipped.assign(tf.where(finite, tf.zeros_like(skipped), skipped))
        self._average.update(self.step.read_value())
        return loss

    def _conditioned(
        self, gradients: Sequence[tf.Tensor]
    ) -> tuple[Sequence[tf.Tensor], tf.Tensor | None]:
        """Takes the loss scale off gradients and clips them.

        Returns:
          The gradients, and whether they are finite, None without a loss scale. Under one,
          gradients that are not finite become 0.
        """
        scale = self.optimizer.scale
        if scale is None and not self._clip_norm:
            return gradients, None
        # One number tells the norm, and whether all are finite. It overflows at norms of 2e19,
        # which are no gradients either.
        norm = tf.sqrt(2 * tf.add_n([tf.nn.l2_loss(gradient) for gradient in gradients]))
        factor = tf.ones([])
        if scale is not None:
            factor /= scale
            norm *= factor
        if self._clip_norm:
            factor *= self._clip_norm / tf.maximum(norm, self._clip_norm)
        finite = tf.math.is_finite(norm)
        if scale is None:
            factor = tf.where(finite, factor, float("nan"))
            return [gradient * factor for gradient in gradients], None
        factor = tf.where(finite, factor, 0.0)
        return [tf.math.multiply_no_nan(gradient, factor) for gradient in gradients], finite

    def _pass_of(self, inputs: Any, labels: Any, replica: tf.Tensor) -> Any:
        return self._pass(
            inputs,
            labels,
            step=self.step.read_value(),
            replica=replica,
            scale=self.optimizer.scale,
        )

    def _parts_of(self, sums: tf.Tensor) -> Gradients:
        count = sum(variable.shape.num_elements() for variable in self._variables)
        return Gradients(sums[count], sums[:count], sums[count + 1 :])

    def _measure_gradients(
        self, inputs: Any, labels: Any, part: tf.Tensor, together: bool, compiled: bool
    ) -> Gradients:
        compute = self._replica_sums if compiled else self._local_sums

        def measure(inputs: Any, labels: Any) -> Gradients:
            replica = part
            if together:
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            inputs, labels = self._prepared(inputs, labels, replica)
            sums, _ = compute(inputs, labels, replica)
            return self._parts_of(self._all_reduced(sums) if together else sums)

        results = self._strategy.run(measure, args=(inputs, labels))
        local_results = self._strategy.experimental_local_results
        return Gradients(*tf.nest.map_structure(lambda value: local_results(value)[0], [*results]))

    @property
    def _scales(self) -> bool:
        return self.optimizer.scale is not None

    def _former_statistics(self) -> tf.Tensor:
        # Read only for a step that may be left out: a network has a hundred of them.
        return flatten(self._read_statistics() if self._scales else [])

    def _read_statistics(self) -> list[tf.Tensor]:
        return [variable.read_value() for variable in self._statistics]

    def _set_statistics(self, values: tf.Tensor) -> None:
        pieces = unflatten(values, self._statistics)
        for variable, value in zip(self._statistics, pieces, strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _stack(batches: Sequence[Any]) -> Any:
    """Batches of one structure -> that structure of tensors [len(batches), n, ...]."""
    return tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *batches)


def _pick(stacked: Any, number: tf.Tensor) -> Any:
    """The batch of a number among stacked ones."""
    return tf.nest.map_structure(lambda tensor: tensor[number], stacked)


def _moving_statistics(model: keras.Model) -> list[tf.Variable]:
    return [
        variable
        for layer in batch_normalizations(model)
        if layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
