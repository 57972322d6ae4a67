"""The last step of every object: identity, equipment, and the bytes of a file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.identity import SourceStudy

# highdicom logs every module that it copies.
logging.getLogger("highdicom").setLevel(logging.ERROR)
# What PS3.10 7.1 requires of the object itself.
_META = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")


@contextmanager
def lenient() -> Iterator[None]:
    """Takes ids as they are while objects are built: RSNA's `ID_...` are no valid UIDs.

    And pydicom warns of values by quoting them, which no log should hold.
    """
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def own_start(dataset: Dataset) -> None:
    """Gives a file a preamble of zeros, and meta information without anything of another file's.

    The 128 bytes before `DICM` may begin a program (CVE-2019-11687), and private information of
    the meta information may hold its rest: neither goes from a file into one that is written.

    Args:
      dataset: Data set with meta information, changed in place.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # counted by pydicom
    meta.FileMetaInformationVersion = b"\0\1"
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    for keyword in _META:
        if keyword in dataset.file_meta:
            meta[keyword] = dataset.file_meta[keyword]
    dataset.file_meta = meta
    dataset.preamble = bytes(128)


def encode(result: Dataset, study: SourceStudy, algorithm: Algorithm) -> bytes:
    """Files an object in its study, and writes it as a DICOM file (PS3.10).

    Args:
      result: Object, changed in place.
      study: Study that it belongs to.
      algorithm: Model that made it.
    """
    with lenient():
        algorithm.stamp(result)
        study.stamp(result)
    return file_bytes(result)


def file_bytes(result: Dataset) -> bytes:
    """The bytes of an object as a DICOM file (PS3.10)."""
    with lenient():
        own_start(result)
        buffer = io.BytesIO()
        result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
