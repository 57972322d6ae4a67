"""Attaching: a pseudonymous result of the web page goes into the study that it was made of.

It happens where the images are, and nothing leaves that machine. A result is joined with its images
by their pixels and geometry (`pseudonyms.image_uid`): names and ids never were in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from ich_tf.dicom.guard import guarded
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError
from ich_tf.reporting.algorithm import MAKER
from ich_tf.reporting.config import AttachConfig
from ich_tf.reporting.document import file_bytes, lenient
from ich_tf.reporting.identity import SourceFile, SourceImage, SourceStudy
from ich_tf.reporting.pseudonyms import PATIENT_PREFIX, image_uid
from ich_tf.reporting.uids import derived_uid
from ich_tf.runtime.files import write_bytes
from ich_tf.runtime.writing import writing

# What every result has, and the length of an element that ends with a mark.
_IDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UNDEFINED = 0xFFFFFFFF
# Sequences that list the images of a document once more, by study and series.
_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "ReferencedSeriesSequence")


@dataclass(frozen=True, eq=False)
class FoundImage:
    """A slice of the client's files.

    Attributes:
      image: What results refer to.
      study: Study of its file.
      patient_id: PatientID of its file.
    """

    image: SourceImage
    study: SourceStudy
    patient_id: str


def attach(config: AttachConfig) -> list[Path]:
    """Writes each result once more, filed in the study of its images.

    Args:
      config: Results, images, and where to write.

    Returns:
      Paths of the written files.

    Raises:
      InputError: If a result is none of the page's, its images are not all there, or another file
        lies where it would be written. Those that can be attached are written before.
    """
    results = list(_results(config))
    studies = {str(result.StudyInstanceUID) for _, result, _ in results}
    folder = config.attached_dir
    images = find_images(list_sources(config.dicom_dir, [folder]).sources, studies)
    filed, problems = {}, []
    for path, result, wanted in results:
        chosen = _choose(wanted, images)
        if isinstance(chosen, str):
            problems.append(f"{path}: {chosen}")
            continue
        _file(result, chosen)
        filed[folder / path.name] = result
        _require_free(folder / path.name, result)
    written = list(filed)
    for path, result in filed.items():
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, [file_bytes(result)])
    if problems:
        raise InputError(
            f"{'; '.join(problems)}. Give the files that were sent to the page with --dicom_dir. "
            f"{len(written)} of {len(results)} results were attached."
        )
    return written


def find_images(
    sources: Sequence[Source], study_uids: set[str]
) -> Mapping[str, Sequence[FoundImage]]:
    """Finds the slices of files by the UIDs that they have in pseudonymous studies.

    Args:
      sources: The files; those that hold no slices are left out.
      study_uids: UIDs of the pseudonymous studies.

    Returns:
      UID -> slices with these pixels in this place.
    """
    found: dict[str, list[FoundImage]] = defaultdict(list)
    with SourceReader() as reader:
        for source in sources:
            try:
                for uid, image in _images_of(reader, source, study_uids):
                    found[uid].append(image)
            except (DicomError, InputError):  # noqa: PERF203 - reading takes milliseconds
                continue  # a scout, a report, a text file
    return found


def _images_of(
    reader: SourceReader, source: Source, study_uids: set[str]
) -> Iterator[tuple[str, FoundImage]]:
    if is_nifti(source.name):
        return  # it belongs to no study
    with source.open() as file:
        source_file = SourceFile(file)
    for header in reader.file(source).scan()[0]:
        hu = reader.slice(source, header.frame).hu
        image = FoundImage(source_file.image(header), source_file.study(header), header.patient_id)
        for study_uid in study_uids:
            yield image_uid(study_uid, hu, header), image


def _require_free(path: Path, result: Dataset) -> None:
    """Refuses to replace another file than an earlier call's: an image, a download, a result."""
    if not path.exists():
        return
    try:
        with guarded():
            there = pydicom.dcmread(path, stop_before_pixels=True)
            is_same = there.get("SOPInstanceUID") == result.SOPInstanceUID
    except DicomError:
        is_same = False
    if not is_same:
        raise InputError(
            f"{path}: is there already, and is another file. Give a folder of its own with "
            "--out_dir."
        )


def _is_whole(result: Dataset) -> bool:
    """Whether a file has its end: pydicom takes what a broken download left for all there is."""
    elements: list[Any] = [result.get_item(tag) for tag in result.keys()]  # noqa: SIM118 - not its values
    has_end = "PixelData" in result or "ContentSequence" in result
    return (
        has_end
        and all(keyword in result for keyword in _IDS)
        and all(
            element.length in (len(element.value or b""), _UNDEFINED)
            for element in elements
            if isinstance(element, RawDataElement)
        )
    )


def _results(config: AttachConfig) -> Iterator[tuple[Path, Dataset, set[str]]]:
    """The results of the page, with their paths and the UIDs that they refer to."""
    path = Path(config.results)
    paths = sorted(path.glob("*.dcm")) if path.is_dir() else [path]
    if not paths:
        raise InputError(
            f"{path}: holds no file *.dcm. Expected results that were downloaded from the web page."
        )
    for each in paths:
        try:
            with guarded():
                result = pydicom.dcmread(each)
                is_whole = _is_whole(result) and (
                    "PixelData" in result or "ContentSequence" in result
                )
                is_own = result.get("Manufacturer") == MAKER
                is_own &= str(result.get("PatientID", "")).startswith(PATIENT_PREFIX)
                wanted = set(_references(result))
        except DicomError as error:
            raise InputError(f"{each}: {error} Expected a result of the web page.") from error
        if not is_own:
            raise InputError(
                f"{each}: is no pseudonymous result of the web page. Expected a DICOM file that "
                "was downloaded from it; those of predict --dicom_results lie in their study."
            )
        if not is_whole:
            raise InputError(
                f"{each}: is not whole. Expected a DICOM file as the web page gave it; download it "
                "once more."
            )
        yield each, result, wanted


def _choose(
    wanted: set[str], images: Mapping[str, Sequence[FoundImage]]
) -> dict[str, FoundImage] | str:
    """The image for each UID that a result refers to, or why there is none."""
    missing = [uid for uid in wanted if uid not in images]
    if missing or not wanted:
        return f"{len(missing)} of its {len(wanted)} images are not in the files"
    counts = Counter(key for uid in wanted for key in {_study_key(found) for found in images[uid]})
    studies = [key for key, count in counts.items() if count == len(wanted)]
    if not studies:
        return f"its images lie in {len(counts)} studies of the files; expected one"
    if len(studies) > 1:
        # A copy under other ids: whose the result is, only the reader of this knows.
        return f"its images lie in each of {len(studies)} studies of the files; expected one"
    at = {uid: [each for each in images[uid] if _study_key(each) == studies[0]] for uid in wanted}
    # Equal pixels in equal places may lie in several series: the one that has most of them.
    ranks = Counter(uid for found in at.values() for uid in {_series_of(each) for each in found})
    return {
        uid: min(
            found, key=lambda each: (-ranks[_series_of(each)], _series_of(each), each.image.key)
        )
        for uid, found in at.items()
    }


def _study_key(found: FoundImage) -> tuple[str, str]:
    return found.patient_id, found.study.study_instance_uid


def _series_of(found: FoundImage) -> str:
    return found.image.series_instance_uid


def _references(dataset: Dataset) -> Iterator[str]:
    """UIDs of the images that a data set refers to, at any depth."""
    for element in dataset:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from _references(item)


def _file(result: Dataset, images: Mapping[str, FoundImage]) -> None:
    """Turns a pseudonymous result into one of the study of its images."""
    # Of the first by place, so that the same files give the same bytes.
    first = images[min(images, key=lambda uid: images[uid].image.key)]
    study_uid = first.study.study_instance_uid
    with lenient():
        evidence = [keyword for keyword in _EVIDENCE if keyword in result]
        for keyword in evidence:
            delattr(result, keyword)
        _refer(result, images)
        for keyword in evidence:
            setattr(result, keyword, _evidence(keyword, study_uid, images))
        keys = sorted({found.image.key for found in images.values()})
        # One study UID may belong to several patients.
        own = "attached", first.patient_id, study_uid
        result.SOPInstanceUID = derived_uid(*own, result.SOPInstanceUID, *keys)
        result.SeriesInstanceUID = derived_uid(*own, result.SeriesInstanceUID)
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
        if "FrameOfReferenceUID" in result:
            result.FrameOfReferenceUID = first.image.frame_of_reference_uid
            result.PositionReferenceIndicator = first.study.position_reference
        for keyword, value in first.study.lossy().items():
            if "PixelData" in result:
                setattr(result, keyword, value)
        first.study.stamp(result)


def _refer(dataset: Dataset, images: Mapping[str, FoundImage]) -> None:
    """Replaces references to pseudonymous images, at any depth."""
    found = images.get(str(dataset.get("ReferencedSOPInstanceUID", "")))
    if found is not None:
        dataset.ReferencedSOPClassUID = found.image.sop_class_uid
        dataset.ReferencedSOPInstanceUID = found.image.sop_instance_uid
        if found.image.frame:
            dataset.ReferencedFrameNumber = found.image.frame
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _refer(item, images)


def _evidence(keyword: str, study_uid: str, images: Mapping[str, FoundImage]) -> list[Dataset]:
    """The images by series (PS3.3 C.12.2), for a document within its study (C.17.2.3)."""
    is_document = keyword != "ReferencedSeriesSequence"
    inner = "ReferencedSOPSequence" if is_document else "ReferencedInstanceSequence"
    by_series: dict[str, dict[str, SourceImage]] = defaultdict(dict)
    for found in sorted(images.values(), key=lambda found: found.image.key):
        by_series[found.image.series_instance_uid][found.image.sop_instance_uid] = found.image
    series_items = []
    for series_uid in sorted(by_series):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        instances = []
        for image in by_series[series_uid].values():
            instance = Dataset()
            instance.ReferencedSOPClassUID = image.sop_class_uid
            instance.ReferencedSOPInstanceUID = image.sop_instance_uid
            instances.append(instance)
        setattr(series, inner, instances)
        series_items.append(series)
    if not is_document:
        return series_items
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = series_items
    return [study]
