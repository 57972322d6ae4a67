"""States of a study, and the study as the queue knows it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

RECEIVING = "receiving"
WAITING = "waiting"
PREDICTING = "predicting"
SENDING = "sending"
DONE = "done"
FAILED = "failed"
REFUSED = "refused"
STATES = (RECEIVING, WAITING, PREDICTING, SENDING, DONE, FAILED, REFUSED)
FINISHED = (DONE, FAILED, REFUSED)
# Reasons of a study that is failed or refused, with their meaning.
REASONS = {
    "NO_SERIES": "no series that the model can read",
    "TOO_LARGE": "more images, or larger ones, than [limits] allows",
    "PREDICTION": "the prediction failed",
    "OUT_OF_MEMORY": "the prediction took more memory than there is",
    "CRASHED": "the gateway ended several times while it predicted this study",
    "NOT_SENT": "the destination did not take the results",
    "INTERNAL": "an error that nobody foresaw; please report it",
}


@dataclass(frozen=True)
class Study:
    """A study of the queue. Times are seconds since 1970.

    Attributes:
      number: Number of the study, from 1, in the order of arrival: its name.
      state: One of `STATES`.
      version: Number of times that later images began it again.
      images: Number of its images.
      num_bytes: Size of its images.
      late: Number of images that came after it was handled, and were not used.
      first_image: Time of its first image.
      last_image: Time of its last image.
      predicted: Time of its prediction; None before.
      finished: Time of its end; None before.
      next_attempt: Earliest time of the next attempt to send.
      attempts: Number of failed attempts in its state.
      urgency: Probability of any bleed, the greatest of its series; None before the prediction.
      findings: The same, by class.
      is_suspected: Whether a series is at or above the operating point; None if there is none.
      warnings: Codes of what speaks against believing the findings (`dicom.series_warnings`).
      objects: Number of its results.
      sent: Number of them that the destination took.
      reason: Why it is failed or refused, one of `REASONS`, or why the last attempt to send failed,
        one of `ports.SEND_FAILURES`; else empty.
      text: Reason in words.
      has_files: Whether its images are kept.
      accession, study_uid: Names in the archive; empty unless study.identify_by says so.
    """

    number: int
    state: str
    version: int
    images: int
    num_bytes: int
    late: int
    first_image: float
    last_image: float
    predicted: float | None
    finished: float | None
    next_attempt: float
    attempts: int
    urgency: float | None
    findings: Mapping[str, float]
    is_suspected: bool | None
    warnings: tuple[str, ...]
    objects: int
    sent: int
    reason: str
    text: str
    has_files: bool
    accession: str
    study_uid: str

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> Study:
        """Reads a row of the table `study`."""
        values = {name: row[name] for name in cls.__dataclass_fields__}
        values["findings"] = json.loads(values["findings"])
        values["warnings"] = tuple(json.loads(values["warnings"]))
        if values["is_suspected"] is not None:
            values["is_suspected"] = bool(values["is_suspected"])
        values["has_files"] = bool(values["has_files"])
        return cls(**values)
