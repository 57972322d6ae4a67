"""DICOM objects of predictions: reports, captures and selections that archives file."""
