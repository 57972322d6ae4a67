"""From DICOM files to a submission: slices read by workers, predicted, stored, summed up."""
