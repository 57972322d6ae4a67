"""What made a result: name, version, hashes and operating points of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ich_tf import __version__
from ich_tf.labels import CLASSES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAKER = "ich_tf"
NOTE = "Research only - not for clinical use"
# Least probability of what is shown where no operating point was fitted.
NO_POINT = 0.5
# Length of a long string (LO) and of a short hash.
LONG_STRING, SHORT_HASH = 64, 12


@dataclass(frozen=True)
class Algorithm:
    """The model that made a result.

    Attributes:
      description: Description in a few words.
      sha256: SHA-256 of the weights.
      calibration_sha256: SHA-256 of the postprocessing; empty if it is not known.
      postprocessing: Description of the postprocessing.
      slice_thresholds: Operating point of each class for slices, None where there is none.
      series_thresholds: Likewise for series.
      options: Settings of the prediction that change its results, such as the prevalence.
    """

    description: str
    sha256: str
    calibration_sha256: str
    postprocessing: str
    slice_thresholds: Mapping[str, float | None] = field(default_factory=dict)
    series_thresholds: Mapping[str, float | None] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name as a long string of DICOM."""
        return f"{MAKER}: {self.description}"[:LONG_STRING]

    @property
    def version(self) -> str:
        """Version of the software, and the start of the hashes, as a long string."""
        texts = [__version__, f"weights {self.sha256[:SHORT_HASH]}"]
        if self.calibration_sha256:
            texts.append(f"calibration {self.calibration_sha256[:SHORT_HASH]}")
        return ", ".join(texts)[:LONG_STRING]

    @property
    def parameters(self) -> dict[str, str]:
        """Settings, each with its name, among them the operating points of slices and series."""
        hashes = {"SHA-256 of weights": self.sha256}
        if self.calibration_sha256:
            hashes["SHA-256 of calibration"] = self.calibration_sha256
        return {
            "Use": NOTE,
            "Postprocessing": self.postprocessing,
            "Operating points of slices": _points(self.slice_thresholds),
            "Operating points of series": _points(self.series_thresholds),
            **hashes,
            **self.options,
        }

    def slice_point(self, name: str) -> float:
        """Least probability of a slice that is shown for a class."""
        threshold = self.slice_thresholds.get(name)
        return NO_POINT if threshold is None else threshold

    def stamp(self, result: Dataset) -> None:
        """Names the model as the equipment that made an object.

        Args:
          result: Object to change.
        """
        result.Manufacturer = MAKER
        result.ManufacturerModelName = printable(self.name)
        result.SoftwareVersions = printable(self.version)
        result.DeviceSerialNumber = self.sha256[:16]


def printable(text: str) -> str:
    """A text in ASCII without control characters, which every character set holds."""
    data = text.encode("ascii", "replace").decode()
    # A backslash would split a value in two.
    return "".join(letter if letter.isprintable() and letter != "\\" else "?" for letter in data)


def _points(thresholds: Mapping[str, float | None]) -> str:
    texts = [
        f"{name} {threshold:.4g}"
        for name in CLASSES
        if (threshold := thresholds.get(name)) is not None
    ]
    return ", ".join(texts) or f"none fitted; {NO_POINT} is shown"
