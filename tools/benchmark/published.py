"""Training throughput that NVIDIA published, to compare measurements with."""

from __future__ import annotations

from typing import NamedTuple

_RESNET50 = (
    "https://github.com/NVIDIA/DeepLearningExamples/blob/master/TensorFlow/Classification/ConvNets/"
    "resnet50v1.5/README.md#training-performance-results"
)
_EFFICIENTNET = (
    "https://github.com/NVIDIA/DeepLearningExamples/blob/master/TensorFlow2/Classification/"
    "ConvNets/efficientnet_v1/README.md#training-performance-results-for-efficientnet-v1-b4"
)


class Published(NamedTuple):
    """Throughput of one GPU.

    Attributes:
      backbone: Name of the network.
      image_size: Height and width of its input, px.
      gpu: Name of the GPU, as it occurs in TensorFlow's device name.
      batch_size: Images of a step in float32 and in mixed precision; 0: not stated.
      single: Images a second in the GPU's default float32: TF32 on an A100, float32 on a V100.
      mixed: Images a second in float16 with float32 weights.
      source: Address of the page that states them. ResNet50 was compiled by XLA (TensorFlow 1.15,
        container 20.06); EfficientNet-B4 is TensorFlow 2's (container 21.09).
    """

    backbone: str
    image_size: int
    gpu: str
    batch_size: tuple[int, int]
    single: float
    mixed: float
    source: str


PUBLISHED = (
    Published("resnet50", 224, "A100", (256, 256), 909, 2375, _RESNET50),
    Published("resnet50", 224, "V100", (128, 256), 412, 1270, _RESNET50),
    Published("efficientnet_b4", 380, "A100", (0, 0), 165, 470, _EFFICIENTNET),
    Published("efficientnet_b4", 380, "V100", (0, 0), 79, 211, _EFFICIENTNET),
)
_REFERENCE_GPU = "A100"


def published_rate(
    backbone: str, image_size: int, precision: str, device: str
) -> tuple[float, str] | None:
    """Looks up the figure to compare a measurement with.

    Args:
      backbone: Name of the network.
      image_size: Height and width of its input, px.
      precision: `float32`, `tf32`, `float16` or `bfloat16`.
      device: Name of the measured GPU. One that has no published figure is compared with an A100.

    Returns:
      Images a second, and the GPU that reached them; None if there is no figure of the network at
      this size.

    Examples:
      >>> published_rate("resnet50", 224, "float16", "NVIDIA A100-SXM4-40GB")
      (2375, 'A100')
      >>> published_rate("resnet50", 224, "tf32", "NVIDIA H100 80GB HBM3")
      (909, 'A100')
      >>> published_rate("resnet50", 64, "float32", "CPU") is None
      True
    """
    entries = {
        entry.gpu: entry
        for entry in PUBLISHED
        if (entry.backbone, entry.image_size) == (backbone, image_size)
    }
    gpu = next((name for name in entries if name in device), _REFERENCE_GPU)
    if gpu not in entries:
        return None
    is_single = precision in ("float32", "tf32")
    return (entries[gpu].single if is_single else entries[gpu].mixed), gpu
