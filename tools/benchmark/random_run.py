"""A work dir of a network that nobody trained, for measuring: what it says does not take longer."""

from __future__ import annotations

from pathlib import Path


def make_run(work_dir: Path, backbone: str, image_size: int, record_size: int) -> Path:
    """Writes random weights.

    Args:
      work_dir: A new folder.
      backbone: One of `config.BACKBONES`.
      image_size: Input of the network, px.
      record_size: Rows and columns of the records that it reads.
    """
    from ich_tf.models.saved import save_best
    from ich_tf.models.spec import ModelSpec

    windows = ("brain", "subdural", "soft")
    spec = ModelSpec(backbone, (record_size, record_size, 3), image_size, windows)
    save_best(work_dir, spec.build(), spec, epoch=1, val_loss=1.0)
    return work_dir
