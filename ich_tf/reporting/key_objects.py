"""The most suspicious slices of a series as a Key Object Selection (PS3.3 A.35.4)."""

from __future__ import annotations

from highdicom import ko
from pydicom.sr.codedict import codes

from ich_tf.labels import ANY
from ich_tf.reporting.algorithm import LONG_STRING, MAKER, NOTE, printable
from ich_tf.reporting.document import encode, lenient
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.structured_report import device, evidence

SERIES_NUMBER = 9300


def key_objects(findings: SeriesFindings) -> bytes | None:
    """Selects the slices at or above the operating point of `any`, the most suspicious first.

    Args:
      findings: Series with its predictions.

    Returns:
      Bytes of the file; None where no slice is that suspicious, since a selection of none is none.
    """
    places = findings.suspicious()
    if not places:
        return None
    algorithm, uids = findings.algorithm, findings.uids
    # A file is selected once, at its most suspicious frame.
    images = evidence(findings, places)
    values = findings.probabilities[:, ANY]
    listed = ", ".join(f"{place + 1} ({values[place]:.2f})" for place in places)
    point = algorithm.slice_point("any")
    text = (
        f"{NOTE}. Slices with a probability of intracranial hemorrhage of {point:.4g} or more, the "
        f"most suspicious first, counted from 1 along the series: {listed}. {algorithm.name}, "
        f"version {algorithm.version}."
    )
    text += "".join(f" Warning {each.code}: {each.message}" for each in findings.warnings)
    with lenient():
        content = ko.KeyObjectSelection(
            document_title=codes.DCM.OfInterest,
            referenced_objects=images,
            observer_device_context=device(findings),
            description=printable(text),
        )
        selection = ko.KeyObjectSelectionDocument(
            evidence=images,
            content=content,
            series_instance_uid=uids.uid("key objects"),
            series_number=SERIES_NUMBER + findings.number,
            sop_instance_uid=uids.uid("key objects", "instance"),
            instance_number=1,
            manufacturer=MAKER,
            content_qualification="RESEARCH",
            series_description=f"{MAKER} key slices. {NOTE}"[:LONG_STRING],
        )
        _name_frames(selection, findings, places)
    return encode(selection, findings.study, algorithm)


def _name_frames(
    selection: ko.KeyObjectSelectionDocument, findings: SeriesFindings, places: list[int]
) -> None:
    """Says which frames of a multi-frame file are selected, the most suspicious first."""
    frames: dict[str, list[int]] = {}
    for place in places:
        image = findings.images[place]
        if image.frame:
            frames.setdefault(image.sop_instance_uid, []).append(image.frame)
    for item in selection.ContentSequence:
        for reference in item.get("ReferencedSOPSequence", ()):
            if numbers := frames.get(reference.ReferencedSOPInstanceUID):
                reference.ReferencedFrameNumber = numbers
