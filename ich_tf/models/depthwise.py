"""Depthwise convolution whose kernel learns fast on CPUs.

oneDNN's kernel for the gradient of depthwise kernels takes 3 x 3 places. Of 5 x 5 it makes one full
convolution a channel, in bfloat16: half of the time of EfficientNet-B4's step. The gradient of a
larger kernel is therefore put together from gradients of 3 x 3 pieces of it, which is the same sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ich_tf.runtime.keras2 import keras

_PIECE = 3


@keras.saving.register_keras_serializable(package="ich_tf")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """Keras's DepthwiseConv2D, which learns faster on CPUs; values and gradients are the same."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Takes Keras's arguments."""
        super().__init__(*arguments, **options)
        self._find_shared: Callable[[], Any] = lambda: None

    def share(self, layer: keras.layers.DepthwiseConv2D) -> None:
        """Uses another layer's variables instead of new ones; called before the first use."""
        # In a function: Keras would take an attribute for a part of this layer.
        self._find_shared = lambda: layer

    def build(self, input_shape: Any) -> None:
        """Makes the variables, or takes those that are shared."""
        shared = self._find_shared()
        if shared is None:
            super().build(input_shape)
            return
        self.depthwise_kernel, self.bias = shared.depthwise_kernel, shared.bias
        self.input_spec = shared.input_spec
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves feature maps [n, h, w, c]."""
        if not training or not self._has_fast_gradient(inputs):
            return super().call(inputs)
        outputs = _convolve(inputs, self.depthwise_kernel, self.strides[0], self.padding.upper())
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _has_fast_gradient(self, inputs: tf.Tensor) -> bool:
        return (
            inputs.dtype == tf.bfloat16
            and None not in inputs.shape[1:]
            and self.depth_multiplier == 1
            and self.data_format == "channels_last"
            and self.kernel_size[0] == self.kernel_size[1] > _PIECE
            and self.strides[0] == self.strides[1]
            and tuple(self.dilation_rate) == (1, 1)
            and self.padding in ("same", "valid")
            and not tf.config.list_physical_devices("GPU")
        )


def _convolve(inputs: tf.Tensor, kernel: Any, stride: int, padding: str) -> tf.Tensor:
    strides = [1, stride, stride, 1]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        def gradient(outputs_gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            inputs_gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=outputs_gradient,
                strides=strides,
                padding=padding,
            )
            size = kernel.shape[0]
            return inputs_gradient, kernel_gradient(inputs, outputs_gradient, size, stride, padding)

        outputs = tf.raw_ops.DepthwiseConv2dNative(
            input=inputs, filter=kernel, strides=strides, padding=padding
        )
        return outputs, gradient

    return convolve(inputs, tf.convert_to_tensor(kernel, inputs.dtype))


def kernel_gradient(
    inputs: tf.Tensor, outputs_gradient: tf.Tensor, size: int, stride: int, padding: str
) -> tf.Tensor:
    """Computes the gradient of a depthwise kernel from the gradients of 3 x 3 pieces of it.

    Args:
      inputs: Input of the convolution, [n, h, w, c].
      outputs_gradient: Gradient of its output, [n, h', w', c].
      size: Rows and columns of the kernel, 3 or more.
      stride: Stride of the convolution.
      padding: `SAME` or `VALID`.

    Returns:
      The gradient, [size, size, c, 1].
    """
    height, width = outputs_gradient.shape[1:3]
    if padding == "SAME":
        margins = [_margins(inputs.shape[axis], size, stride) for axis in (1, 2)]
        inputs = tf.pad(inputs, [[0, 0], *margins, [0, 0]])

    def piece(row: int, column: int) -> tf.Tensor:
        """Gradient of the kernel's places from a row and a column on."""
        rows = slice(row, row + (height - 1) * stride + _PIECE)
        columns = slice(column, column + (width - 1) * stride + _PIECE)
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=inputs[:, rows, columns],
            filter_sizes=[_PIECE, _PIECE, inputs.shape[3], 1],
            out_backprop=outputs_gradient,
            strides=[1, stride, stride, 1],
            padding="VALID",
        )

    # The last piece reaches back over the one before it, of which it adds the rest alone.
    starts = [*range(0, size - _PIECE, _PIECE), size - _PIECE]
    new = [_PIECE] + [after - before for before, after in itertools.pairwise(starts)]
    bands = [
        tf.concat(
            [piece(row, column)[:, -n:] for column, n in zip(starts, new, strict=True)], axis=1
        )
        for row in starts
    ]
    return tf.concat([band[-n:] for band, n in zip(bands, new, strict=True)], axis=0)


def _margins(length: int, size: int, stride: int) -> list[int]:
    """Zeros before and after an axis under the padding SAME."""
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    return [total // 2, total - total // 2]
