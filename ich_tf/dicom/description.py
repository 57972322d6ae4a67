"""Description of a slice in a closed vocabulary: what was reconstructed, and of which acquisition.

Terms, numbers and nothing else leave this module: a file's free text (kernel, agent, description)
is compared with words and dropped. A tag that is missing or nonsense is `unknown`, never an error:
RSNA's anonymised headers have none of them. Clauses are those of DICOM PS3.3, 2024.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from ich_tf.dicom.content import Content
from ich_tf.dicom.data_set import DataSet, Element
from ich_tf.dicom.elements import tag_of, text
from ich_tf.dicom.kernels import kernel_class
from ich_tf.runtime.numbers import decimal_number

CONTRASTS = ("no", "yes", "unknown")
ORIGINS = ("original", "derived", "unknown")
CONTENTS = (
    "axial", "average", "reformat", "monoenergetic", "angio", "mip", "perfusion", "other",
    "unknown",
)  # fmt: skip

_MAX_THICKNESS_MM = 100.0
_MAX_NUMBER = 2**31 - 1
# More than any of these elements may have (PS3.5 6.2).
_MAX_BYTES = 1024
# ContrastBolusAgent is free text; what begins so says that there was none: of an agent a series is
# rather taken for enhanced than for plain, but for plain where that is said.
_NO_AGENT = re.compile(
    r"(?:NO|NON(?![ -]?IONIC)|NONE|NOT|NIL|WITHOUT|W/?O|OHNE|KEINE?|SANS|SIN|SENZA|NATIVE?|PLAIN|"
    r"UNENHANCED|NON-?CON\w*|N/?C|NCCT|FALSE)\b|(?:I-|N|NA|N/A|NICHT|KEINES|0)$"
)
# What stands where a text was taken away, or says nothing of the vessels.
_NO_WORD = re.compile(
    r"UNKNOWN|NOT SPECIFIED|ANONYM\w*|DE-?IDENTIFIED|REMOVED|DELETED|REDACTED|ORAL|[X*?-]+"
)
_AGENT_TAGS = (
    "ContrastBolusAgent", "ContrastBolusRoute", "ContrastBolusIngredient",
)  # fmt: skip
_AMOUNT_TAGS = (
    "ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastFlowRate",
    "ContrastBolusIngredientConcentration",
)  # fmt: skip
_SERIES_TAGS = tuple(map(tag_of, (
    "FrameType", "ImageType", "SeriesDescription", "ConvolutionKernel", "SliceThickness",
    "SeriesNumber", "ContrastBolusAgentAdministered", "ContrastBolusAgentSequence", *_AGENT_TAGS,
    *_AMOUNT_TAGS,
)))  # fmt: skip
# Words of ImageType, FrameType (C.8.15.3.1.1, C.8.16.1) and of makers, with the content that they
# mean. The first content with a word in the file counts.
_CONTENT_WORDS = (
    ("perfusion", r"PERFUSION|CBF|CBV|MTT|TTP|TTD|TTS|TMAX|RBF|RBV|PBV|PERMEABILITY|MSI"),
    ("mip", r"MIP|MINIP|MAXIP|MAX IP|MIN IP|MAXIMUM|MINIMUM|PROJECTION IMAGE|THIN MIP"),
    ("angio", r"ANGIO|CTA|SUBTRACTION|MASKED|BONE REMOVAL"),
    ("monoenergetic", r"MONO|MONOENERGETIC|MONOCHROMATIC|MONOE|VMI|MONO PLUS|DE MONO"),
    ("average", r"AVERAGE|MEAN|MIX|DE MIX"),
    ("reformat", r"REFORMATTED|REFORMAT|MPR|MPVR|CPR|RESAMPLED|CSARESAMPLED|CORONAL|SAGITTAL|"
                 r"OBLIQUE|COR|SAG"),
    ("other", r"LOCALIZER|SURVIEW|SCOUT|SCREEN SAVE|SCREENSAVE|SCREEN SHOT|VRT|3D EDITOR|VXTL|"
              r"VOLUME RENDERING|DOSE|DOSE INFO|PROT|SUMMARY|MONITORING|PREMONITORING|VNC|VUE|"
              r"IODINE|WATER|CALCIUM|Z EFF|ELECTRON DENSITY|CSA BLACK IMAGE"),
)  # fmt: skip
_CONTENT_PATTERNS = tuple(
    (content, re.compile(rf"\b(?:{words})\b")) for content, words in _CONTENT_WORDS
)
# In a series' description these words mean other things, or too little.
_NOT_IN_DESCRIPTIONS = ("other", "average", "monoenergetic")
_CONTRAST_IN_DESCRIPTION = re.compile(
    r"\b(?:CTA|CTV|CTP|W CONTRAST|WITH (?:IV )?CONTRAST|POST ?-?(?:CONTRAST|CE|KM))\b"
    r"|\b(?:ANGIO|VENO|C\+)"
)
# Such as NON CTA, and PRE CONTRAST.
_NO_CONTRAST_IN_DESCRIPTION = re.compile(
    r"\b(?:NON?|PRE|BEFORE|WITHOUT|W/?O)[ -]+(?:CT[AVP]|(?:IV )?CONTRAST|ANGIO\w*)\b"
)
# Letters, digits and + are words; everything else, the underscore included, separates them.
_SEPARATORS = re.compile(r"[^A-Z0-9+]+")


def describe_slice(dataset: DataSet, maker: str, frame: int = 0) -> dict[str, Any]:
    """The fields of `header.Header` that describe a slice, by name.

    Args:
      dataset: The file, or one of its frames as `frames.Frames` returns it.
      maker: Maker of the scanner, as `header.scanner_maker` returns it.
      frame: Number of the frame, from 1; 0 in a file of one slice.
    """
    acquisition = _short(dataset, "FrameAcquisitionNumber")
    return {
        **_describe_series(maker, tuple(_start(dataset, tag) for tag in _SERIES_TAGS)),
        "acquisition": _integer(dataset, "AcquisitionNumber") if acquisition < 0 else acquisition,
        "instance": frame or _integer(dataset, "InstanceNumber"),
        "time_s": _time_s(dataset),
    }


@functools.lru_cache(1024)
def _describe_series(maker: str, values: tuple[bytes, ...]) -> dict[str, Any]:
    """The fields that slices of a series share; hundreds of slices ask for the same.

    Args:
      maker: Maker of the scanner.
      values: Values of the tags `_SERIES_TAGS`; empty where the file has none.
    """
    elements = dict(zip(_SERIES_TAGS, map(Element, values), strict=True))
    dataset = DataSet(elements, Content(b""), "")
    origin, content = image_kind(
        text(dataset, "FrameType") or text(dataset, "ImageType"),
        text(dataset, "SeriesDescription"),
    )
    return {
        "kernel": kernel_class(text(dataset, "ConvolutionKernel"), maker),
        "thickness_mm": _thickness_mm(dataset),
        "contrast": _contrast(dataset, content),
        "origin": origin,
        "content": content,
        "series_number": _integer(dataset, "SeriesNumber"),
    }


def _start(dataset: DataSet, tag: int) -> bytes:
    """Start of an element's value, a copy: a view would keep the whole file in memory."""
    element = dataset.get(tag)
    return b"" if element is None else bytes(element.value[:_MAX_BYTES])


@functools.lru_cache(1024)
def image_kind(image_type: str, description: str = "") -> tuple[str, str]:
    r"""Origin and content of an image, one of `ORIGINS` and one of `CONTENTS`.

    Args:
      image_type: Values of ImageType or FrameType, joined by a backslash.
      description: SeriesDescription, which is asked only where the image is not original and its
        type says no more than `axial`: that of a scan may list all that was made of it.

    Examples:
      >>> image_kind(r"ORIGINAL\PRIMARY\AXIAL")
      ('original', 'axial')
      >>> image_kind(r"DERIVED\SECONDARY\REFORMATTED\MIP")
      ('derived', 'mip')
    """
    values = [value.strip() for value in image_type.upper().split("\\")]
    origin = {"ORIGINAL": "original", "DERIVED": "derived"}.get(values[0], "unknown")
    words = _SEPARATORS.sub(" ", " ".join(values[1:])).strip()
    for content, pattern in _CONTENT_PATTERNS:
        if pattern.search(words):
            return origin, content
    described = (
        "" if origin == "original" else _SEPARATORS.sub(" ", _without_negations(description))
    )
    for content, pattern in _CONTENT_PATTERNS:
        if content not in _NOT_IN_DESCRIPTIONS and pattern.search(described):
            return origin, content
    return origin, "axial" if "AXIAL" in values or "VOLUME" in values else "unknown"


def number_text(value: float) -> str:
    """A number of a description as people read it; a question mark for an unknown one.

    Examples:
      >>> number_text(0.625), number_text(5.0), number_text(0.0)
      ('0.625', '5', '?')
    """
    return f"{value:.3f}".rstrip("0").rstrip(".") if value > 0 else "?"


def _without_negations(description: str) -> str:
    """A description in capital letters, without what it says that the series is not."""
    return _NO_CONTRAST_IN_DESCRIPTION.sub(" ", description.upper().replace("_", " "))


def _contrast(dataset: DataSet, content: str) -> str:
    """`yes`, `no` or `unknown`, one of `CONTRASTS`."""
    administered = text(dataset, "ContrastBolusAgentAdministered").upper()
    if administered in ("YES", "NO"):
        return administered.lower()
    words = (text(dataset, keyword).upper().strip(" .") for keyword in _AGENT_TAGS)
    agents = [word for word in words if word and not _NO_WORD.fullmatch(word)]
    if not all(map(_NO_AGENT.match, agents)):
        return "yes"
    if any(_number(dataset, keyword) > 0 for keyword in _AMOUNT_TAGS):
        return "yes"
    if agents:
        return "no"
    if _is_filled(dataset, "ContrastBolusAgentSequence"):
        return "yes"
    if content in ("angio", "perfusion"):
        return "yes"
    described = _without_negations(text(dataset, "SeriesDescription"))
    return "yes" if _CONTRAST_IN_DESCRIPTION.search(described) else "unknown"


def _thickness_mm(dataset: DataSet) -> float:
    thickness = _number(dataset, "SliceThickness")
    return round(thickness, 3) if 0 < thickness <= _MAX_THICKNESS_MM else 0.0


def _time_s(dataset: DataSet) -> float:
    """Time of the acquisition, seconds since midnight; -1 if unknown."""
    time = text(dataset, "AcquisitionTime").replace(":", "")
    if not time:
        # ContentTime is that of the reconstruction, which follows the acquisition.
        moment = text(dataset, "FrameAcquisitionDateTime") or text(dataset, "AcquisitionDateTime")
        time = moment[8:].split("+")[0].split("-")[0] or text(dataset, "ContentTime")
    if not re.fullmatch(r"\d{6}(\.\d*)?", time):
        return -1.0
    return int(time[:2]) * 3600 + int(time[2:4]) * 60 + float(time[4:])


def _number(dataset: DataSet, keyword: str) -> float:
    """The first value of a decimal string; 0 if there is none."""
    value = decimal_number(text(dataset, keyword).split("\\")[0])
    return value if math.isfinite(value) else 0.0


def _integer(dataset: DataSet, keyword: str) -> int:
    """The value of an integer string that is not negative; -1 if there is none."""
    digits = text(dataset, keyword).strip()
    # Python would read 1_000, too.
    value = int(digits) if re.fullmatch(r"[+-]?[0-9]{1,12}", digits) else -1
    return value if 0 <= value <= _MAX_NUMBER else -1


def _short(dataset: DataSet, keyword: str) -> int:
    """The value of an unsigned short; -1 if there is none."""
    element = dataset.get(tag_of(keyword))
    if element is None or len(element.value) != 2:
        return -1
    return int.from_bytes(element.value, "big" if dataset.big else "little")


def _is_filled(dataset: DataSet, keyword: str) -> bool:
    """Whether a sequence has an item."""
    sequence = dataset.get(tag_of(keyword))
    return sequence is not None and len(sequence.value) > 0
