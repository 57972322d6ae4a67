"""Conversion: DICOM files and a label CSV become verified TFRecord shards."""
