"""Names of NIfTI files, by which they are told from DICOM files, and the ids that they give."""

from __future__ import annotations

from ich_tf.runtime.names import printable

_EXTENSIONS = (".nii.gz", ".nii")


def is_nifti(name: str) -> bool:
    """Whether a file is to be read as NIfTI, by its name.

    Examples:
      >>> [is_nifti(name) for name in ("a/1.nii.gz", "1.NII", "1.hdr", "1.dcm")]
      [True, True, False, False]
    """
    return name.lower().endswith(_EXTENSIONS)


def without_nifti_extension(name: str) -> str:
    """Name of a NIfTI file without `.nii` or `.nii.gz`; any other name as it is.

    Examples:
      >>> [without_nifti_extension(name) for name in ("a/case.01.nii.gz", "b.dcm")]
      ['a/case.01', 'b.dcm']
    """
    for extension in _EXTENSIONS:
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name


def ids_of_name(name: str) -> tuple[str, str]:
    """Ids of a NIfTI file, which has none inside.

    Args:
      name: Path of the file within the source, with forward slashes.

    Returns:
      Id of the patient: the file's name; and of study and series: its path, with underscores for
      slashes, which separate a series from its pass.

    Examples:
      >>> ids_of_name("hospital/case_01.nii.gz")
      ('case_01', 'hospital_case_01')
    """
    path = printable(without_nifti_extension(name))
    return path.rpartition("/")[2], path.replace("/", "_")
