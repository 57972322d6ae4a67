"""Records for benchmarks, converted from a folder of DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def convert_folder(dicom_dir: str, out_dir: Path, image_size: int, encoding: str) -> Any:
    """Converts DICOM files without labels.

    Args:
      dicom_dir: Folder of DICOM files.
      out_dir: Folder for the records.
      image_size: Rows and columns of the records, px.
      encoding: One of `records.schema.ENCODINGS`.

    Returns:
      Manifest of the records.
    """
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
