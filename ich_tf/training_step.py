"""One optimizer step on a global batch, over the replicas of a strategy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.losses import weighted_binary_crossentropy


class TrainingStep:
    """One optimizer step on a global batch.

    On each replica, forward and backward of its part, where XLA may compile; then, in this
    order: the sum over replicas, loss-scale division, clipping, and the optimizer, which
    under a loss scale skips a step that is not finite. Compiling all of it
    (`Model.compile(jit_compile=True)`) fails with several replicas on a CPU.

    The local loss is the sum over local examples / the global batch, so that the sum of the
    replicas' gradients is the gradient of the global mean.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        optimizer: tf.keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        *,
        batch_size: int,
        xla: bool = False,
        clip_norm: float = 0.0,
    ) -> None:
        """Builds the optimizer's variables.

        Args:
          model: Made under `strategy`'s scope; gives logits [n, 6].
          optimizer: Likewise; `LossScaleOptimizer` for float16.
          strategy: The replicas.
          batch_size: Global.
          xla: Whether to compile the forward and backward pass.
          clip_norm: Largest global norm of the summed gradient; 0 does not clip.
        """
        if batch_size % strategy.num_replicas_in_sync:
            raise ConfigError(
                f"batch_size is {batch_size}; it must be a multiple of the "
                f"{strategy.num_replicas_in_sync} replicas."
            )
        self._model = model
        self._optimizer = optimizer
        self._strategy = strategy
        self._batch_size = batch_size
        self._clip_norm = clip_norm
        self._scales_loss = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        with strategy.scope():
            optimizer.build(model.trainable_variables)
        self._forward_backward = tf.function(self._local_gradients, jit_compile=xla or None)
        self._step = tf.function(self._global_step)

    def __call__(self, images: Any, labels: Any) -> tf.Tensor:
        """Takes the step.

        Args:
          images: Distributed values, on each replica uint8 [batch_size / replicas, H, W, C].
          labels: Likewise, float32 [batch_size / replicas, 6].

        Returns:
          The loss before the step, mean over the global batch, float32 [].
        """
        return self._step(images, labels)

    @property
    def traces(self) -> int:
        """How often the step was traced: 1 as long as shapes stay the same."""
        return int(self._step.experimental_get_tracing_count())

    def _global_step(self, images: Any, labels: Any) -> tf.Tensor:
        losses = self._strategy.run(self._replica_step, args=(images, labels))
        return self._strategy.experimental_local_results(losses)[0]

    def _replica_step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        scale = self._optimizer.loss_scale if self._scales_loss else tf.ones([])
        local_loss, local_gradients = self._forward_backward(images, labels, scale)
        loss, gradients = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, (local_loss, local_gradients)
        )
        if self._scales_loss:
            gradients = self._optimizer.get_unscaled_gradients(gradients)
        if self._clip_norm:
            # An infinite norm makes every gradient NaN: the loss scale's check still sees it.
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        self._optimizer.apply_gradients(
            zip(gradients, self._model.trainable_variables, strict=True),
            skip_gradients_aggregation=True,
        )
        return loss

    def _local_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = self._model(images, training=True)
            losses = weighted_binary_crossentropy(labels, logits)
            loss = tf.reduce_sum(losses) / self._batch_size
            scaled_loss = loss * scale
        gradients = tape.gradient(scaled_loss, self._model.trainable_variables)
        return loss, gradients


def average_batch_statistics(model: tf.keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Gives every replica the mean of all replicas' batch normalisation statistics.

    While training, each replica keeps its own; a checkpoint stores their mean. Without
    this, validation would score other models than the one that is saved.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    for variable in model.non_trainable_variables:
        if variable.synchronization == tf.VariableSynchronization.ON_READ:
            variable.assign(variable.read_value())
