"""The web application: DICOM files in, probabilities, heat maps and reports out. Research only."""
