"""DICOM files of masks, opened by pydicom: their sequences are many, and lie deep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@contextmanager
def opened(path: str | Path, *, pixels: bool = False) -> Iterator[Dataset]:
    """A file's data set, whose values are read without warnings.

    Args:
      path: The file.
      pixels: Whether the pixel data is read too.
    """
    import pydicom
    from pydicom import config

    # pydicom would warn of RSNA's UIDs (`ID_...`), and quote them.
    with config.disable_value_validation():
        yield pydicom.dcmread(path, stop_before_pixels=not pixels)


def items(dataset: Any, *keywords: str) -> Iterator[Any]:
    """Items of a sequence within the items of another, and so on; none where one is missing.

    Args:
      dataset: The data set that holds the first sequence.
      keywords: Keywords of the sequences, the outermost first.
    """
    for item in getattr(dataset, keywords[0], None) or ():
        if len(keywords) == 1:
            yield item
        else:
            yield from items(item, *keywords[1:])


def numbers(values: Any, count: int | None = None) -> Sequence[float]:
    """Values of a decimal string; empty if they are not `count`."""
    found = [float(value) for value in (values if values is not None else ())]
    return found if count is None or len(found) == count else ()
