"""DICOMweb of an archive: what it holds (QIDO-RS), its images (WADO-RS), results for it (STOW-RS).

Clauses are of PS3.18. Answers are of the archive's making: a UID that is none never gets into an
address, and what is too long or too slow is given up.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from ich_tf.gateway.archive import Answer, Archive, ArchiveError
from ich_tf.gateway.config import LimitsSection
from ich_tf.gateway.limits import Meter
from ich_tf.gateway.multipart import DicomParts, NotMultipart
from ich_tf.gateway.ports import Refused
from ich_tf.gateway.spool import SpoolFile

_JSON = "application/dicom+json"
# Any transfer syntax, as the archive keeps it (8.7.3.5.2).
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
# CT and enhanced CT image storage (PS3.4 B.5), as the inbox takes them.
_CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1")
_PAGE = 200
_MAX_STUDIES = 20000
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")
_PIECE = 2**18
# Keys of the JSON model (annex F): group and element.
_SOP_CLASS, _SOP_INSTANCE, _SERIES, _STUDY = "00080016", "00080018", "0020000E", "0020000D"
_PATIENT_ID, _MODALITIES, _NUM_INSTANCES = "00100020", "00080061", "00201208"
_FAILED, _FAILURE_REASON, _OTHER_FAILURES = "00081198", "00081197", "0008119A"
# Reasons of a failed instance that will be the same next time (10.5.3.2, PS3.4 B.2.3).
_FINAL_REASONS = (0x0122, 0x0124, 0x0117)
# Reasons in one message.
_LISTED_REASONS = 5
# Values of one answer: 64 MiB of empty lists would take 2 GB as objects of Python. Objects of 2 kB
# have some 50 marks.
_MAX_MARKS = 4_000_000
_COUNT = re.compile(r"[0-9]{1,9}")


class ArchiveStudy(NamedTuple):
    """A study that an archive holds.

    Attributes:
      uid: StudyInstanceUID, as the archive has it.
      patient_id: PatientID; empty for none.
      num_instances: Number of its instances; -1 if the archive does not tell.
    """

    uid: str
    patient_id: str
    num_instances: int


class ArchiveInstance(NamedTuple):
    """A CT image that an archive holds.

    Attributes:
      series_uid: SeriesInstanceUID.
      uid: SOPInstanceUID.
    """

    series_uid: str
    uid: str


def ct_studies(archive: Archive, first: date, last: date) -> Iterator[ArchiveStudy]:
    """Asks for the studies of some days that hold CT images (10.6).

    Args:
      archive: The archive.
      first: First StudyDate.
      last: Last StudyDate.

    Raises:
      ArchiveError: If it does not answer as it should.
    """
    query = {
        "ModalitiesInStudy": "CT",
        "StudyDate": f"{first:%Y%m%d}-{last:%Y%m%d}",
        "includefield": f"{_MODALITIES},{_NUM_INSTANCES},{_PATIENT_ID}",
    }
    for item in _matches(archive, "/studies", query, _MAX_STUDIES):
        modalities = _values(item, _MODALITIES)
        # An archive may know no ModalitiesInStudy, and answer with all studies of the days.
        if not modalities or "CT" in modalities:
            yield ArchiveStudy(
                str(_value(item, _STUDY)),
                str(_value(item, _PATIENT_ID) or ""),
                _count(_value(item, _NUM_INSTANCES)),
            )


def ct_images(archive: Archive, study: ArchiveStudy, most: int) -> list[ArchiveInstance]:
    """Asks for the CT images of a study.

    Args:
      archive: The archive.
      study: The study.
      most: Most instances to ask for.

    Raises:
      ArchiveError: If it does not answer as it should.
    """
    path = f"/studies/{_checked_uid(study.uid)}/instances"
    query = {"includefield": _SOP_CLASS}
    return [
        ArchiveInstance(
            _checked_uid(_value(item, _SERIES)), _checked_uid(_value(item, _SOP_INSTANCE))
        )
        for item in _matches(archive, path, query, most)
        if _value(item, _SOP_CLASS) in _CT_CLASSES
    ]


def retrieve(
    archive: Archive,
    path: str,
    limits: LimitsSection,
    new_file: Callable[[], SpoolFile],
    take: Callable[[SpoolFile], None],
) -> int:
    """Fetches instances (10.4), as they are kept.

    Args:
      archive: The archive.
      path: Path of a series or an instance, from `series_path` or `instance_path`.
      limits: `[limits]` of the config.
      new_file: Makes the file of an instance.
      take: Called with each file that is complete; it accepts or discards it.

    Returns:
      Number of instances.

    Raises:
      ArchiveError: If not all of them came.
    """
    with archive.request("GET", path, {"accept": _DICOM}) as answer:
        meter = Meter(limits)
        try:
            parts = DicomParts(answer.content_type, new_file, take)
            try:
                for piece in answer.pieces():
                    meter.took(len(piece))
                    parts.write(piece)
                parts.finish()
            finally:
                parts.discard()
        except NotMultipart as error:
            raise ArchiveError("BAD_ANSWER", f"the archive's answer: {error}") from error
        except Refused as error:
            raise ArchiveError("BAD_ANSWER", error.text) from error
    return parts.num_parts


def series_path(study: ArchiveStudy, series_uid: str) -> str:
    """Path of a series."""
    return f"/studies/{study.uid}/series/{series_uid}"


def instance_path(study: ArchiveStudy, instance: ArchiveInstance) -> str:
    """Path of an instance."""
    return f"{series_path(study, instance.series_uid)}/instances/{instance.uid}"


def store(archive: Archive, files: Sequence[Path]) -> None:
    """Sends instances (10.5). Those that the archive holds already do no harm.

    Args:
      archive: The archive.
      files: DICOM files (PS3.10).

    Raises:
      ArchiveError: If not all of them were taken.
      OSError: If a file cannot be read.
    """
    boundary = secrets.token_hex(16)
    start = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    end = f"--{boundary}--\r\n".encode()
    size = sum(len(start) + path.stat().st_size + 2 for path in files) + len(end)

    def body() -> Iterator[bytes]:
        for path in files:
            yield start
            with open(path, "rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
            yield b"\r\n"
        yield end

    headers = {
        "content-type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        # Archives of some years do not read bodies without a length.
        "content-length": str(size),
        "accept": _JSON,
    }
    with archive.request("POST", "/studies", headers, body()) as answer:
        _check_stored(answer, len(files))


def _check_stored(answer: Answer, num_files: int) -> None:
    """Raises ArchiveError unless an answer says that all files were stored (10.5.3)."""
    content = _json(answer)
    items = content if isinstance(content, list) else [content]
    reasons = [
        _value(failed, _FAILURE_REASON)
        for item in items
        for key in (_FAILED, _OTHER_FAILURES)
        for failed in _values(item, key)
    ]
    if answer.status == 202 and not reasons:
        return  # warnings alone
    if reasons:
        codes = [code for code in reasons if isinstance(code, int) and 0 <= code <= 0xFFFF]
        is_final = any(code in _FINAL_REASONS or code >= 0xA900 for code in codes)
        texts = sorted({f"{code:04X}" for code in codes})
        listed = ", ".join(texts[:_LISTED_REASONS]) or "none given"
        raise ArchiveError(
            "REJECTED" if is_final else "SERVER_ERROR",
            f"the archive did not store {len(reasons)} of {num_files} objects (reason {listed}).",
            is_final=is_final,
        )


def _matches(
    archive: Archive, path: str, query: dict[str, str], most: int
) -> Iterator[dict[str, Any]]:
    """The matches of a search, page by page (10.6.3.2)."""
    seen = 0
    while seen < most:
        page = {**query, "limit": str(_PAGE), "offset": str(seen)}
        with archive.request("GET", path, {"accept": _JSON}, params=page) as answer:
            items = [] if answer.status == 204 else _json(answer)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ArchiveError("BAD_ANSWER", "the archive's answer is no list of matches.")
        if len(items) > most - seen:
            raise ArchiveError("BAD_ANSWER", f"the archive named more than {most} matches.")
        yield from items
        seen += len(items)
        if len(items) < _PAGE:
            return


def _json(answer: Answer) -> Any:
    body = answer.read()
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_MARKS:
        raise ArchiveError("BAD_ANSWER", "the archive's answer has too many values.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ArchiveError("BAD_ANSWER", "the archive's answer is no JSON.") from error


def _values(item: Any, key: str) -> list[Any]:
    element = item.get(key) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _value(item: Any, key: str) -> Any:
    return next(iter(_values(item, key)), None)


def _count(value: Any) -> int:
    """A number of instances, which may be text; -1 if it is none."""
    return int(value) if _COUNT.fullmatch(str(value)) else -1


def _checked_uid(value: Any) -> str:
    uid = str(value)
    if not _UID.fullmatch(uid):
        raise ArchiveError("BAD_ANSWER", "the archive named something by what is no UID.")
    return uid
