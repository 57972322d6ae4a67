"""Index of DICOM files: slices that can be planned, and inputs that yield none."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ich_tf.conversion.copies import settle_copies
from ich_tf.conversion.exam_labelling import exams_of_rows, rows_without_exams, without_labels
from ich_tf.conversion.exam_matching import SeriesNames
from ich_tf.conversion.exam_rows import ExamRows
from ich_tf.conversion.labelling import Labelling
from ich_tf.conversion.matching import LabelMatcher
from ich_tf.conversion.nifti_ids import NiftiIds
from ich_tf.conversion.patients import patient_of
from ich_tf.conversion.slice_index import IndexedSlice, SliceIndex
from ich_tf.dicom.header_scan import scan_headers
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reasons import DicomError, Rejection
from ich_tf.runtime.executors.base import Executor


def index(
    listing: SourceListing,
    executor: Executor,
    labels: LabelMatcher | None = None,
    crop: str = "none",
    patient_from: str = "id",
    hash_key: bytes = b"",
    hash_size: int = 0,
    nifti_ids: NiftiIds | None = None,
    exams: ExamRows | None = None,
    *,
    may_name_exams: bool = False,
) -> tuple[SliceIndex, list[Rejection]]:
    """Reads the header of every file, and finds the labels of its slices.

    Of several slices with the same image id the first that can be used is kept.

    Args:
      listing: DICOM files, and inputs that were left out already.
      executor: Executor that reads the headers.
      labels: Matcher of the labels; a slice without a row is rejected, unless its exam has labels.
        None to index all slices as unlabelled.
      crop: One of `records.CROPS`.
      patient_from: What tells patients apart, one of `config.PATIENT_SOURCES`.
      hash_key: Secret under which the ids of labels without a file are hashed; empty for the
        public key.
      hash_size: Rows and columns of the stored form whose pixels are hashed, px; 0 to hash none.
      nifti_ids: Ids of NIfTI files; None for those of their names.
      exams: Labels of exams; a slice whose exam has none, and which has none itself, is rejected.
      may_name_exams: Whether rows of `labels` that name no file may name an exam.

    Returns:
      The index, and the inputs that were left out with their reasons.
    """
    indexed = SliceIndex()
    has_unknown = labels is not None and labels.rows.has_unknown
    names = SeriesNames() if exams is not None or may_name_exams or has_unknown else None
    rejections: list[Rejection] = []
    for entry in chain(
        listing.rejections, scan_headers(listing.sources, executor, crop, hash_size)
    ):
        if isinstance(entry, Rejection):
            rejections.append(entry)
            if names is not None:
                names.add_unusable(listing.within(entry.path))
            if labels is not None:
                labels.add_unusable(listing.within(entry.path))
            continue
        source, header = entry.source, entry.header
        slice_ = IndexedSlice(
            name=source.name,
            image_id=header.image_id,
            labels=None,
            header=header,
            crop=entry.crop,
            pixel_hash=entry.pixel_hash,
        )
        path = listing.within(source.name)
        try:
            named = nifti_ids.named(path, header) if nifti_ids and is_nifti(path) else header
            patient = patient_of(path, named, patient_from)
        except DicomError as error:
            rejections.append(Rejection(slice_.path, "index", error.reason.value, str(error)))
            if labels is not None:
                labels.add_unusable(listing.within(source.shown), header)
            continue
        # The slice keeps its own header, which a worker finds in the file as well.
        key = patient, named.study_id, named.series_id
        indexed.add(slice_, key)
        if names is not None:
            names.add(key, listing.within(source.shown), named.patient_id)
        if labels is not None:
            labels.add_slice(listing.within(source.shown), header)
    labelling = None
    if labels is None:
        rejections += settle_copies(indexed, listing, executor)
        if exams is not None and names is not None:
            indexed.exams = names.match(exams)
    else:
        matches = labels.match(indexed.first_copies())
        if names is not None:
            indexed.exams, matches = exams_of_rows(
                names, exams, labels.rows, matches, may_name_exams=may_name_exams
            )
        is_partial = indexed.exams is not None
        labelling = Labelling(labels.rows, matches, labels.label_key, is_partial=is_partial)
        rejections += _unlabelled(indexed, labelling)
        rejections += settle_copies(indexed, listing, executor, labelling)
        indexed.label(labelling.matches.row, labelling.rows, labelling.matches.unused_rows)
        rejections += labelling.rows_without_images(hash_key)
    if indexed.exams is not None:
        rejections += without_labels(indexed, labelling)
        rejections += rows_without_exams(indexed.exams, hash_key)
    return indexed, rejections


def _unlabelled(indexed: SliceIndex, labelling: Labelling) -> Iterator[Rejection]:
    """Removes the images that have one slice, and no labels that can be used.

    Yields:
      Those slices, with their reasons.
    """
    for number in labelling.doubtful(indexed.single()).tolist():
        slice_ = indexed.slice(number)
        problem = labelling.problem(number, slice_)
        if problem is not None:
            if labelling.is_unlabelled(number):
                indexed.note_unlabelled(number, slice_)
            indexed.remove(number)
            yield problem
