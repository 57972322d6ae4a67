"""Draws docs/augmentation.png: slices of phantoms under each augmentation.

  python -m tools.draw_docs

Exit codes: 0 done; 1 failed; 2 wrong usage.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ich_tf.runtime import command

command.add_headings({"out_dir": "Output"})
_OUT_DIR = command.define_path("out_dir", "docs", "Folder to write the picture into.")
_SLICES = 3
_AUGMENTATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as stored", {}),
    ("--flip", {"flip": True}),
    ("--shift=0.06", {"shift": 0.06}),
    ("--rotate=10", {"rotate": 10.0}),
    ("--scale=0.08", {"scale": 0.08}),
    ("--window_jitter=0.2", {"window_jitter": 0.2}),
    ("--cutout=0.3", {"cutout": 0.3}),
    ("--mixup=0.4", {"mixup": 0.4}),
)


def main() -> None:
    """Augments slices of phantoms and draws them into one PNG file."""
    import numpy as np
    import tensorflow as tf

    from ich_tf.training.augmentation import augment_batch
    from ich_tf.training.config import TrainConfig
    from ich_tf.windows import apply_windows, preset_windows
    from tools.figures import picture_grid

    stored = _bleeding_slices()
    labels = np.zeros((len(stored), 6), np.float32)
    columns = []
    for _, changes in _AUGMENTATIONS:
        config = TrainConfig(**changes)
        images, _ = augment_batch(tf.constant(stored), tf.constant(labels), (3, 1), config)
        brain = [
            apply_windows(image[..., 0], preset_windows(["brain"])) for image in images.numpy()
        ]
        columns.append([image[..., 0] for image in brain])
    out_dir = Path(_OUT_DIR.value)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "augmentation.png"
    picture_grid(path, columns, [name for name, _ in _AUGMENTATIONS])
    print(path)


def _bleeding_slices() -> Any:
    """Stored Hounsfield units of some slices with hemorrhage, each of another series."""
    import numpy as np

    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.conversion.convert import convert
    from ich_tf.labels import ANY
    from ich_tf.phantom import PhantomConfig, write_dataset
    from ich_tf.records.input_pipeline import eval_batches
    from ich_tf.records.manifest import Manifest

    with tempfile.TemporaryDirectory() as folder:
        phantoms, records = Path(folder) / "phantoms", Path(folder) / "records"
        config = PhantomConfig(num_patients=8, seed=5, bleed_fraction=1.0, min_volume_ml=25.0)
        write_dataset(phantoms, config)
        convert(
            ConversionConfig(
                dicom_dir=str(phantoms / "stage_2_train"),
                labels_csv=str(phantoms / "stage_2_train.csv"),
                out_dir=str(records),
                encoding="hu16",
                num_folds=2,
                test_fraction=0.0,
            )
        )
        manifest = Manifest.load(records)
        slices: dict[bytes, Any] = {}
        for batch in eval_batches(
            manifest.shards, manifest.image_shape, batch_size=16, encoding="hu16"
        ):
            bleeds = np.flatnonzero(batch["labels"].numpy()[:, ANY])
            for i in bleeds:
                slices.setdefault(batch["series_key"].numpy()[i], []).append(batch["image"][i])
    longest = sorted(slices.values(), key=len, reverse=True)[:_SLICES]
    # The middle one of a series shows most: the last one is near the vertex.
    return np.stack([series[len(series) // 2] for series in longest])


if __name__ == "__main__":
    command.run(main, __doc__)
