"""Names of the networks that flags take; this module loads no TensorFlow."""

from __future__ import annotations

import difflib
import re

# Names in keras.applications, by the names of the flag.
APPLICATIONS = {
    "convnext_tiny": "ConvNeXtTiny",
    "convnext_small": "ConvNeXtSmall",
    "convnext_base": "ConvNeXtBase",
    "convnext_large": "ConvNeXtLarge",
    "convnext_xlarge": "ConvNeXtXLarge",
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    **{f"efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)},
    **{
        f"efficientnet_v2_{i.lower()}": f"EfficientNetV2{i}"
        for i in ["B0", "B1", "B2", "B3", "S", "M", "L"]
    },
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    "nasnet_mobile": "NASNetMobile",
    "nasnet_large": "NASNetLarge",
    **{
        f"regnet_{kind.lower()}{size}": f"RegNet{kind}{size}"
        for kind in "XY"
        for size in [
            "002",
            "004",
            "006",
            "008",
            "016",
            "032",
            "040",
            "064",
            "080",
            "120",
            "160",
            "320",
        ]
    },
    **{f"resnet{layers}": f"ResNet{layers}" for layers in (50, 101, 152)},
    **{f"resnet{layers}_v2": f"ResNet{layers}V2" for layers in (50, 101, 152)},
    **{f"resnet_rs{layers}": f"ResNetRS{layers}" for layers in (50, 101, 152, 200, 270, 350, 420)},
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}
BACKBONES = ("tiny", *APPLICATIONS)
# Pools, by which the logits of an exam follow from those of its slices, in any order.
POOLS = ATTENTION, MAX, NOISY_OR, LSE = ("attention", "max", "noisy_or", "lse")
# Models over the slices of a series, which read the features that ich_tf.extract_features wrote.
SERIES_BACKBONES = ("bigru", "transformer", *POOLS)
# How a network sees the slices around the one to classify.
NEIGHBOUR_STEMS = ("middle", "shared")
# Whence a network has the logits of a slice: the mean of its feature maps, or its pixels' logits.
POOLINGS = ("mean", "lse")

# Least height and width of the input that keras.applications accepts, px.
_SMALLEST_SIZES = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}
_SMALLEST_SIZE = 32
_OWN = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


def is_backbone(name: str) -> bool:
    """Whether a name is one of `BACKBONES`, or has the form of a user's own: module:function."""
    return name in BACKBONES or is_own(name)


def is_own(name: str) -> bool:
    """Whether a name has the form module:function.

    Examples:
      >>> is_own("my_networks:small"), is_own("resnet50")
      (True, False)
    """
    return _OWN.fullmatch(name) is not None


def smallest_size(backbone: str) -> int:
    """Least height and width of a backbone's input, px."""
    return _SMALLEST_SIZES.get(backbone, _SMALLEST_SIZE)


def expected_backbones(name: str, *others: str) -> str:
    """Describes what a backbone may be called, where something else was given.

    Args:
      name: Name that was given.
      *others: Names that are allowed beside the backbones'.

    Examples:
      >>> expected_backbones("resnet-50")
      'tiny, module:function, or a network of keras.applications, such as resnet50'
    """
    similar = difflib.get_close_matches(name, APPLICATIONS, n=3, cutoff=0.7)
    networks = ", ".join(similar or ("resnet50", "efficientnet_b4", "convnext_tiny"))
    return (
        f"{', '.join(('tiny', *others))}, module:function, or a network of keras.applications, "
        f"such as {networks}"
    )
