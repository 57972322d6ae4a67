"""The spec of a network over slices, from which it is built again and fed."""

from __future__ import annotations

import dataclasses
from typing import Any

from ich_tf.labels import CLASSES
from ich_tf.models.architectures import NEIGHBOUR_STEMS, POOLINGS, expected_backbones, is_backbone
from ich_tf.models.slice_model import build_model
from ich_tf.models.spec_limits import (
    MOST_PIXELS,
    MOST_WINDOWS,
    check_prior,
    check_range,
    check_share,
    check_windows,
)
from ich_tf.records.schema import CROPS
from ich_tf.runtime.keras2 import keras

VERSION = 1


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Description of a network over slices, from which it is built again and fed.

    Attributes:
      backbone: Name of the backbone, one of `architectures.BACKBONES` or module:function.
      record_shape: H, W, C of a record.
      image_size: Height and width of the backbone's input, px.
      windows: Window presets of the channels, in order.
      stored_hu: Whether the records hold Hounsfield units, and the model applies the windows.
      crop: Part that is cut out of a slice before resizing, one of `records.CROPS`.
      dropout, bn_momentum, freeze_bn, neighbours, neighbour_stem, negatives_kept,
        label_smoothing, segmentation, pooling: Arguments of `build_model`.
      prior: Share of positive slices of each class in the training folds: the prediction for a
        slice that cannot be read.
      classes: Classes of the logits, in order.
      version: Version of the spec's format, `VERSION`.
    """

    backbone: str
    record_shape: tuple[int, int, int]
    image_size: int
    windows: tuple[str, ...]
    stored_hu: bool = False
    crop: str = "none"
    dropout: float = 0.0
    bn_momentum: float = 0.0
    freeze_bn: bool = False
    neighbours: int = 1
    neighbour_stem: str = "middle"
    negatives_kept: float = 1.0
    label_smoothing: float = 0.0
    segmentation: bool = False
    pooling: str = "mean"
    prior: tuple[float, ...] = (0.5,) * len(CLASSES)
    classes: tuple[str, ...] = CLASSES
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"version is {self.version}; this version reads {VERSION}")
        if tuple(self.classes) != CLASSES:
            raise ValueError(f"classes are {', '.join(self.classes)}; expected {CLASSES}")
        check_prior(self.prior, len(CLASSES))
        if not is_backbone(self.backbone):
            expected = expected_backbones(self.backbone)
            raise ValueError(f"backbone is {self.backbone!r}; expected {expected}")
        if self.neighbour_stem not in NEIGHBOUR_STEMS:
            raise ValueError(f"neighbour_stem is {self.neighbour_stem!r}")
        if self.pooling not in POOLINGS[: 1 + self.segmentation]:
            raise ValueError(f"pooling is {self.pooling!r}, segmentation {self.segmentation}")
        if self.crop not in CROPS:
            raise ValueError(f"crop is {self.crop!r}; expected one of {CROPS}")
        check_windows(self.windows)
        check_range("image_size", self.image_size, 1, MOST_PIXELS)
        check_range("neighbours", self.neighbours, 1, MOST_WINDOWS)
        if not 0 < self.negatives_kept <= 1:
            raise ValueError(f"negatives_kept is {self.negatives_kept}; expected one in (0, 1]")
        for name in ("dropout", "bn_momentum", "label_smoothing"):
            check_share(name, getattr(self, name))
        channels = 1 if self.stored_hu else len(self.windows)
        if len(self.record_shape) != 3 or self.record_shape[2] != channels:
            raise ValueError(f"record_shape is {self.record_shape} for windows {self.windows}")
        for pixels in self.record_shape[:2]:
            check_range("record_shape", pixels, 1, MOST_PIXELS)

    def build(self, **initial: Any) -> keras.Model:
        """Builds the model; `initial` are the arguments `weights` and `bias` of `build_model`."""
        return build_model(
            self.backbone,
            self.record_shape,
            self.image_size,
            hu_windows=self.windows if self.stored_hu else (),
            dropout=self.dropout,
            bn_momentum=self.bn_momentum,
            freeze_bn=self.freeze_bn,
            neighbours=self.neighbours,
            neighbour_stem=self.neighbour_stem,
            negatives_kept=self.negatives_kept,
            label_smoothing=self.label_smoothing,
            segmentation=self.segmentation,
            pooling=self.pooling,
            **initial,
        )
