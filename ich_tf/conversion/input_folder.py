"""The inputs of a conversion, without its own files among them."""

from __future__ import annotations

from pathlib import Path

from ich_tf.conversion.config import ConversionConfig
from ich_tf.dicom.listing import SourceListing, list_sources
from ich_tf.errors import ConfigError


def check_folders(config: ConversionConfig) -> None:
    """Refuses an output folder that holds the inputs; one within the inputs is passed over.

    Raises:
      ConfigError: If `dicom_dir` is `out_dir`, or lies in it; or `masks_dir` holds other inputs.
    """
    inputs, out_dir = Path(config.dicom_dir).resolve(), Path(config.out_dir).resolve()
    if out_dir in (inputs, *inputs.parents):
        raise ConfigError(
            f"dicom_dir is {config.dicom_dir!r}, which lies in out_dir, {config.out_dir!r}; it "
            "must be another folder, so that the conversion takes none of its own files for inputs."
        )
    if config.masks_dir:
        masks_dir = Path(config.masks_dir).resolve()
        if masks_dir in (inputs, *inputs.parents) or out_dir in (masks_dir, *masks_dir.parents):
            raise ConfigError(
                f"masks_dir is {config.masks_dir!r}; it must be a folder of masks alone, beside or "
                f"within dicom_dir, {config.dicom_dir!r}, and not in out_dir, {config.out_dir!r}."
            )


def list_inputs(config: ConversionConfig) -> SourceListing:
    """Lists the inputs, without the conversion itself, its labels, its masks and its secret.

    Raises:
      InputError: As for `list_sources`.
    """
    masks = config.masks_dir, config.mask_images_dir
    own = (config.out_dir, config.labels_csv, config.exam_labels_csv, *masks, config.hash_key_file)
    return list_sources(config.dicom_dir, [Path(path) for path in own if path])
