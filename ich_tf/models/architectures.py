"""Names of the networks, and the widths of their features; loads no TensorFlow."""

from __future__ import annotations

# Numbers that the layer `FEATURE_LAYER` gives a slice.
FEATURE_WIDTHS = {"resnet50": 2048, "efficientnet_b4": 1792, "tiny": 32}


BACKBONES = ("resnet50", "efficientnet_b4", "tiny")
# Over the slices of a series, on what ich_tf.extract_features wrote.
SERIES_BACKBONES = ("bigru", "transformer")
