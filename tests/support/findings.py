"""Findings that no model made, of images that need not exist."""

import io
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_tf.dicom.reader import read_headers
from ich_tf.labels import CLASSES
from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.identity import SourceFile
from ich_tf.reporting.uids import ResultUids
from tests.support.dicom_files import make_dicom

ALGORITHM = Algorithm(
    description="1 network over slices (tiny)",
    sha256="ab" * 32,
    calibration_sha256="cd" * 32,
    postprocessing="calibrated by platt",
    slice_thresholds=dict.fromkeys(CLASSES, 0.5),
    series_thresholds=dict.fromkeys(CLASSES, 0.4),
)
# What an archive expects of a file.
ARCHIVED = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.826.0.1.4",
    "SeriesInstanceUID": "1.2.826.0.1.5",
    "FrameOfReferenceUID": "1.2.826.0.1.6",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "AccessionNumber": "A-17",
    "StudyID": "S1",
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "101500.5",
}


def source_files(count: int, tags: Mapping[str, Any] | None = None, side: int = 32) -> list[bytes]:
    """DICOM files of one series, 5 mm apart."""
    stored = np.random.default_rng(0).integers(1000, 1100, (count, side, side), np.int16)
    return [
        make_dicom(
            pixels,
            tags={
                **ARCHIVED,
                "SOPInstanceUID": f"1.2.826.0.1.7.{number}",
                "ImagePositionPatient": ["-8", "-8", str(5 * number)],
                "InstanceNumber": number + 1,
                **(tags or {}),
            },
        )
        for number, pixels in enumerate(stored)
    ]


def made_findings(
    files: list[bytes], probabilities: np.ndarray | None = None, **changes: Any
) -> SeriesFindings:
    """Findings in a series of files.

    Args:
      files: The slices, in order; all frames of a multi-frame file.
      probabilities: [n, 6]; the third slice is the most suspicious one if none are given.
      changes: Other fields of the findings.
    """
    images, study = list(changes.get("images", ())), None
    for data in files:
        source = SourceFile(io.BytesIO(data))
        headers = list(read_headers(io.BytesIO(data)))
        study = study or source.study(headers[0])
        images += [source.image(header) for header in headers]
    if probabilities is None:
        probabilities = np.full((len(images), 6), 0.1)
        probabilities[2 % len(images)] = 0.9
    greatest = dict(zip(CLASSES, probabilities.max(axis=0).tolist(), strict=True))
    fields = {
        "study": study,
        "images": images,
        "probabilities": probabilities,
        "summary": {
            "max": greatest,
            "decisions": {name: value >= 0.4 for name, value in greatest.items()},
            "volumes": None,
        },
        "algorithm": ALGORITHM,
        "uids": ResultUids.of([image.key for image in images], ALGORITHM.sha256),
    }
    return SeriesFindings(**{**fields, **changes})


def require_valid(data: bytes, path: Path) -> None:
    """Fails if dicom3tools find an error in a file, or dcmtk does."""
    path.write_bytes(data)
    for command in (["dciodvfy", "-new", path], ["dcmdump", path]):
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        errors = done.stderr.decode("latin-1")
        assert done.returncode == 0 and not re.search("^(Error|[EW]:)", errors, re.M), errors
