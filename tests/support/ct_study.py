"""A head CT study as an archive sends it: several series, of which one is the plain head CT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.dicom_files import make_dicom

# Tags of each kind of series, and places of its slices, mm. The repeat shares the standard's UID.
AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]
THICK, THIN = [5.0 * k for k in range(6)], [1.0 * k for k in range(26)]
KINDS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "standard": ({"ConvolutionKernel": "UB", "SeriesNumber": 2, "AcquisitionNumber": 1}, THICK),
    "repeat": ({"ConvolutionKernel": "UB", "SeriesNumber": 2, "AcquisitionNumber": 2}, THICK),
    "bone": ({"ConvolutionKernel": "YA", "SeriesNumber": 3}, THICK),
    "thin": ({"ConvolutionKernel": "UB", "SeriesNumber": 4}, THIN),
    "reformat": (
        {
            "ConvolutionKernel": "UB",
            "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"],
            "SeriesNumber": 5,
        },
        THICK,
    ),
    "cta": (
        {
            "ConvolutionKernel": "UB",
            "ContrastBolusAgent": "OMNIPAQUE",
            "SeriesNumber": 1,
        },
        [1.0 * k for k in range(40)],
    ),
    "mip": (
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"], "SeriesNumber": 6},
        THICK,
    ),
    "perfusion": (
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CBF"], "SeriesNumber": 7},
        THICK,
    ),
}


def write_study(
    folder: Path,
    kinds: Sequence[str] = tuple(KINDS),
    *,
    patient: str = "P1",
    side: int = 16,
    seed: int = 0,
) -> dict[str, list[Path]]:
    """Writes the files of a study.

    Args:
      folder: Folder to write to; made if there is none.
      kinds: Series to write, of `KINDS`.
      patient: PatientID, of which study and series ids follow.
      side: Rows and columns, px.
      seed: Seed of the pixels.

    Returns:
      Paths of the slices of each series, from the lowest on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = f"1.2.826.0.1.{sum(patient.encode())}"
    paths: dict[str, list[Path]] = {}
    for kind in kinds:
        tags, places = KINDS[kind]
        series = f"{root}.{tags['SeriesNumber']}"
        for number, z in enumerate(places):
            pixels = np.random.default_rng([seed, number]).integers(900, 1200, (side, side))
            data = make_dicom(
                pixels.astype(np.int16),
                tags={
                    "PatientID": patient,
                    "StudyInstanceUID": root,
                    "SeriesInstanceUID": series,
                    "SOPInstanceUID": f"{series}.{tags.get('AcquisitionNumber', 1)}.{number}",
                    "Manufacturer": "Philips",
                    "ImageType": AXIAL,
                    "SliceThickness": str(places[1] - places[0]),
                    "InstanceNumber": number + 1,
                    "ImagePositionPatient": ["-4", "-4", str(z)],
                    **tags,
                },
            )
            path = folder / f"{patient}_{kind}_{number:02}.dcm"
            path.write_bytes(data)
            paths.setdefault(kind, []).append(path)
    return paths
