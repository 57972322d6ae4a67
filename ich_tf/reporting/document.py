"""The last step of every object: identity, equipment, and the bytes of a file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom
from pydicom.dataset import Dataset

from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.identity import SourceStudy

# highdicom logs every module that it copies.
logging.getLogger("highdicom").setLevel(logging.ERROR)


@contextmanager
def lenient() -> Iterator[None]:
    """Takes ids as they are while objects are built: RSNA's `ID_...` are no valid UIDs.

    And pydicom warns of values by quoting them, which no log should hold.
    """
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


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
        buffer = io.BytesIO()
        result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
