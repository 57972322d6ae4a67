"""Records to measure with, of a folder of DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def convert_folder(dicom_dir: str, out_dir: Path, image_size: int, encoding: str) -> Any:
    """Converts without labels; returns the manifest."""
    from ich_tf.conversion.config import ConversionConfig
    from ich_tf.conversion.convert import convert
    from ich_tf.records.manifest import Manifest

    config = ConversionConfig(
        dicom_dir=dicom_dir,
        labels_csv="",
        out_dir=str(out_dir),
        image_size=image_size,
        encoding=encoding,
        allow_lossy=True,
        shard_mb=8,
    )
    convert(config)
    return Manifest.load(out_dir)
