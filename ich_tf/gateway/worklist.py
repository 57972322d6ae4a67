"""The worklist: studies as its page, its API and the webhook show them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from ich_tf.gateway.states import FAILED, REFUSED, SENDING, Study

NOTE = "Research only - not for clinical use"


class StudyRow(BaseModel):
    """A study of the worklist.

    `study` is its number in the queue, its only name unless study.identify_by is `accession`.
    `urgency` is the greatest probability of any bleed of its series, `suspected` whether a series
    is at or above the operating point; both null before the prediction. `warnings` are codes of
    what speaks against believing them. `late` counts images that came too late to be used.
    `can_retry` says whether POST api/worklist/{study}/retry may help.
    """

    study: int
    state: Literal["receiving", "waiting", "predicting", "sending", "done", "failed", "refused"]
    urgency: float | None
    suspected: bool | None
    findings: dict[str, float]
    warnings: list[str]
    images: int
    late: int
    received_at: str
    last_image_at: str
    predicted_at: str | None
    finished_at: str | None
    results: int
    sent: int
    attempts: int
    reason: str
    text: str
    can_retry: bool
    accession: str | None
    study_uid: str | None


class Worklist(BaseModel):
    """Studies: the predicted ones first, the most urgent of them at the top; `counts` is of all."""

    studies: list[StudyRow]
    counts: dict[str, int]
    problems: dict[str, str]
    destination: str
    dry_run: bool
    note: str = NOTE


def study_row(study: Study) -> StudyRow:
    """Makes the row of a study."""
    return StudyRow(
        study=study.number,
        state=study.state,  # type: ignore[arg-type]
        urgency=study.urgency,
        suspected=study.is_suspected,
        findings=dict(study.findings),
        warnings=list(study.warnings),
        images=study.images,
        late=study.late,
        received_at=_time(study.first_image),
        last_image_at=_time(study.last_image),
        predicted_at=None if study.predicted is None else _time(study.predicted),
        finished_at=None if study.finished is None else _time(study.finished),
        results=study.objects,
        sent=study.sent,
        attempts=study.attempts if study.state == SENDING else 0,
        reason=study.reason,
        text=study.text,
        can_retry=study.state in (FAILED, REFUSED) and study.has_files,
        accession=study.accession or None,
        study_uid=study.study_uid or None,
    )


def in_order(studies: Sequence[Study]) -> list[Study]:
    """Sorts studies: those with a prediction by urgency, then the others by arrival."""
    return sorted(
        studies,
        key=lambda study: (study.urgency is None, -(study.urgency or 0.0), study.number),
    )


def _time(seconds: float) -> str:
    """A time as ISO 8601, UTC."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")
