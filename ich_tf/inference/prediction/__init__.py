"""Prediction of DICOM files: reading in workers, storage of predictions, submission, summary."""
