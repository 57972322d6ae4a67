"""DICOM files and a label CSV -> TFRecord shards: index, plan, execute."""
