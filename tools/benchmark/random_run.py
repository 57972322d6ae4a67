"""A work dir with random weights: predictions take as long as those of a trained network."""

from __future__ import annotations

from pathlib import Path


def make_run(work_dir: Path, backbone: str, image_size: int, record_size: int) -> Path:
    """Writes a work dir with random weights.

    Args:
      work_dir: New folder.
      backbone: One of `models.architectures.BACKBONES`.
      image_size: Height and width of the network's input, px.
      record_size: Rows and columns of its records, px.

    Returns:
      `work_dir`.
    """
    from ich_tf.models.saved import save_best
    from ich_tf.models.spec import ModelSpec

    windows = ("brain", "subdural", "soft")
    spec = ModelSpec(backbone, (record_size, record_size, 3), image_size, windows)
    save_best(work_dir, spec.build(), spec, epoch=1, val_loss=1.0)
    return work_dir
