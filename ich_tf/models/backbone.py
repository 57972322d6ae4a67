"""A backbone: a network without its top, and what its pretrained weights ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ich_tf.models.normalization import Normalization
from ich_tf.runtime.keras2 import keras


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network without its top, as built for one size and number of channels.

    Attributes:
      body: Model: normalized images [n, size, size, channels] -> feature maps [n, h, w, features].
      normalization: Normalization that its weights expect.
      load: Function that loads pretrained weights into it: `imagenet`, or the path of a file of
        keras.applications without its top.
    """

    body: keras.Model
    normalization: Normalization
    load: Callable[[str], None]


def no_weights(name: str) -> Callable[[str], None]:
    """The function `load` of a backbone that keras.applications does not know."""

    def load(weights: str) -> None:
        raise ValueError(f"keras.applications has no backbone {name}, hence no weights {weights!r}")

    return load
