"""Names of the networks and the widths of their features; this module loads no TensorFlow."""

from __future__ import annotations

# Number of pooled features of a slice, in the layer `slice_model.FEATURE_LAYER`.
FEATURE_WIDTHS = {"resnet50": 2048, "efficientnet_b4": 1792, "tiny": 32}

BACKBONES = ("resnet50", "efficientnet_b4", "tiny")
# Models over the slices of a series, which read the features that ich_tf.extract_features wrote.
SERIES_BACKBONES = ("bigru", "transformer")
