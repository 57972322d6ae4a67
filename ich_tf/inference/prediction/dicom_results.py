"""DICOM objects of a prediction: what archives file in the studies of the images."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ich_tf.dicom.guard import guarded
from ich_tf.dicom.reasons import DicomError
from ich_tf.errors import InputError, UsageError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.masks.dicom_seg import dicom_seg, require_highdicom, segment_numbers
from ich_tf.inference.masks.image_masks import decode_bits
from ich_tf.inference.prediction.captures import draw_captures
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.prediction.series_findings import series_findings
from ich_tf.inference.prediction.store import StoredPrediction
from ich_tf.runtime.files import write_bytes
from ich_tf.runtime.writing import writing

_LOG = logging.getLogger(__name__)
# Names of what this module writes, and nobody else; in a run that was killed, temporary ones.
_NAME = r"study-\d+-series-\d+-(segmentation|report|key-objects|capture-\d+)\.dcm"
_WRITTEN = re.compile(rf"{_NAME}|\.{_NAME}\.[0-9a-f]{{32}}\.tmp", re.ASCII)
# Kind of an object, and its bytes.
_Object = tuple[str, bytes]


def prepare_dicom_results(config: PredictConfig) -> None:
    """Makes the folder of the DICOM objects, before hours of work.

    Args:
      config: Config with the folder; an empty one needs nothing.

    Raises:
      UsageError: If highdicom is not installed, or the folder is a file.
    """
    if not config.dicom_results:
        return
    require_highdicom()
    folder = Path(config.dicom_results)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--dicom_results={folder} is a file; expected a folder, or a new name.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_dicom_results(
    config: PredictConfig, reader: Reader
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Writes the DICOM objects of all predicted series.

    Objects of an earlier run are removed: whoever sends the folder sends no old ones.

    Args:
      config: Config with the folder; an empty one writes none.
      reader: Reader whose store holds the probabilities.

    Returns:
      Paths of the files, and the reason of each series without any.
    """
    if not config.dicom_results:
        return (), ()
    folder = Path(config.dicom_results)
    with writing(folder):
        for earlier in folder.iterdir():
            if _WRITTEN.fullmatch(earlier.name):
                earlier.unlink()
    written: list[Path] = []
    reasons: list[str] = []
    for name, members, number in _series(reader):
        objects = _objects(config, reader, members, number)
        while made := _made(objects):
            if isinstance(made, str):
                reasons.append(f"{name}: {made}")
                _LOG.warning("no DICOM objects of %s", reasons[-1])
                continue
            kind, data = made
            path = folder / f"{name}-{kind}.dcm"
            write_bytes(path, [data])
            written.append(path)
    return tuple(written), tuple(reasons)


def _made(objects: Iterator[_Object | str]) -> _Object | str | None:
    """The next object of a series, or why there is none; None at the end."""
    try:
        with guarded():
            try:
                return next(objects, None)
            except InputError as error:
                return str(error)
    except DicomError as error:
        # The generator has ended.
        return str(error)


def _series(reader: Reader) -> Iterator[tuple[str, list[StoredPrediction], int]]:
    """Name without identity, slices, and number in its study, of each series."""
    studies: dict[tuple[str, str], int] = {}
    numbers: Counter[int] = Counter()
    for members in reader.store.by_series("probabilities"):
        header = members[0].header
        study = studies.setdefault((header.patient_id, header.study_id), len(studies) + 1)
        numbers[study] += 1
        yield f"study-{study}-series-{numbers[study]}", members, numbers[study] - 1


def _objects(
    config: PredictConfig, reader: Reader, members: Sequence[StoredPrediction], number: int
) -> Iterator[_Object | str]:
    """Kind and bytes of each object of a series; a text where one cannot be made."""
    # They need highdicom, which is asked for before hours of work.
    from ich_tf.reporting.capture import capture
    from ich_tf.reporting.key_objects import key_objects
    from ich_tf.reporting.structured_report import structured_report

    findings = series_findings(reader, members, number, config.prevalence)
    if members[0].mask:
        bits = [decode_bits(slice_.mask) for slice_ in members]
        headers = [slice_.header for slice_ in members]
        try:
            yield "segmentation", dicom_seg(bits, headers, findings)
            findings = dataclasses.replace(findings, segments=segment_numbers(bits))
        except InputError as error:
            yield f"no segmentation, {error}"
    yield "report", structured_report(findings)
    selection = key_objects(findings)
    if selection is not None:
        yield "key-objects", selection
    pictures = draw_captures(reader, members, findings, prevalence=config.prevalence)
    for rank, picture in enumerate(pictures, 1):
        data = capture(
            *(findings, picture.place, picture.pixels, picture.text),
            number=rank,
            scale=picture.scale,
        )
        yield f"capture-{rank:02}", data
