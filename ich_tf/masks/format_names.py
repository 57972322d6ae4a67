"""Names of the formats of masks, apart from what reads them: --help loads no pydicom."""

# Values of --mask_format.
MASK_FORMATS = ("auto", "png", "nifti", "dicom_seg", "rtstruct")
