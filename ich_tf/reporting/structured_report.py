"""Probabilities and volumes of a series as a structured report (PS3.16 TID 1500).

It is a Comprehensive 3D SR, as IHE's profile AI Results has it: a group of measurements for each
class in the series, and one for each slice, with the images that they were made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from ich_tf import __version__
from ich_tf.labels import ANY, CLASSES
from ich_tf.reporting import codes as own
from ich_tf.reporting.algorithm import LONG_STRING, MAKER, NOTE, printable
from ich_tf.reporting.document import encode, lenient
from ich_tf.reporting.findings import SEGMENTATION, SeriesFindings
from ich_tf.reporting.identity import SourceImage
from ich_tf.reporting.uids import derived_uid

SERIES_NUMBER = 9000
# Maximum number of slices in a report: highdicom takes 30 ms a slice.
_MAX_LISTED = 200
_ANSWERS = {
    "yes": codes.SCT.Present,
    "no": codes.SCT.Absent,
    "abstain": codes.SCT.Indeterminate,
}


def structured_report(findings: SeriesFindings) -> bytes:
    """Writes probabilities, decisions and volumes of a series and its slices as DICOM.

    Args:
      findings: Series with its predictions.
    """
    with lenient():
        report = _report(findings)
    return encode(report, findings.study, findings.algorithm)


def cited_places(findings: SeriesFindings) -> list[int]:
    """Places of the slices that a report names."""
    return sorted({*_listed(findings), *map(findings.most_suspicious, CLASSES)})


def _report(findings: SeriesFindings) -> sr.Comprehensive3DSR:
    listed, algorithm, uids = _listed(findings), findings.algorithm, findings.uids
    made_by = sr.AlgorithmIdentification(
        name=printable(algorithm.name),
        version=printable(algorithm.version),
        parameters=[
            *(printable(f"{name}: {text}") for name, text in algorithm.parameters.items()),
            *(printable(f"Warning {each.code}: {each.message}") for each in findings.warnings),
            f"Slices listed: {len(listed)} of {len(findings.probabilities)}",
        ],
        manufacturer=MAKER,
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device(findings)),
        procedure_reported=codes.SCT.ComputedTomographyOfHead,
        imaging_measurements=[
            *(_class_group(findings, name, made_by) for name in CLASSES),
            # A group for each slice, not for each slice and class: highdicom takes 8 ms a group.
            *(_slice_group(findings, place) for place in listed),
            *(_segment_group(findings, name, made_by) for name in findings.segments),
        ],
    )
    return sr.Comprehensive3DSR(
        evidence=[*evidence(findings, cited_places(findings)), *_segmentation(findings)],
        content=content[0],
        series_instance_uid=uids.uid("report"),
        series_number=SERIES_NUMBER + findings.number,
        sop_instance_uid=uids.uid("report", "instance"),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        content_qualification="RESEARCH",
        series_description=f"{MAKER} report. {NOTE}"[:LONG_STRING],
        software_versions=__version__,
    )


def device(findings: SeriesFindings) -> sr.ObserverContext:
    """The model as the observer of what a document says (TID 1004)."""
    algorithm = findings.algorithm
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            # The same device wherever the same weights run.
            uid=derived_uid("device", algorithm.sha256, __version__),
            name=f"{MAKER} - {NOTE}",
            manufacturer_name=MAKER,
            model_name=printable(algorithm.name),
            serial_number=algorithm.sha256[:16],
        ),
    )


def evidence(findings: SeriesFindings, places: list[int]) -> list[Any]:
    """The images that a document refers to, each file once."""
    images = {findings.images[place].sop_instance_uid: findings.images[place] for place in places}
    uid = findings.study.study_instance_uid
    return [image.reference(uid) for image in images.values()]


def _class_group(
    findings: SeriesFindings, name: str, made_by: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    """The greatest probability of a class in the series; its volume and the decisions, if any."""
    summary = findings.summary
    decision = summary["decisions"][name]
    threshold = findings.algorithm.series_thresholds.get(name)
    measurements = [_probability(summary["max"][name], codes.SCT.Maximum)]
    evaluations = []
    if decision is not None:
        value = codes.SCT.Present if decision else codes.SCT.Absent
        evaluations.append(sr.QualitativeEvaluation(_coded(own.AT_OPERATING_POINT), value))
    if answers := summary.get("abstention"):
        value = _ANSWERS[answers[name]]
        evaluations.append(sr.QualitativeEvaluation(_coded(own.WITH_ABSTENTION), value))
    if threshold is not None:
        measurements.append(_probability(threshold, name=_coded(own.OPERATING_POINT)))
    if name not in findings.segments:
        measurements += _volumes(findings, name)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(findings, "series", name),
        finding_type=_coded(own.FINDINGS[name]),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_sites=[sr.FindingSite(_coded(own.SITES[name]))] if name in own.SITES else None,
        algorithm_id=made_by,
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[_source(findings.images[findings.most_suspicious(name)])],
    )


def _segment_group(
    findings: SeriesFindings, name: str, made_by: sr.AlgorithmIdentification
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The volume of a class, with the segment that it is the volume of (TID 1411)."""
    series_uid = findings.images[0].series_instance_uid
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(findings, "segment", name),
        referenced_segment=sr.ReferencedSegment(
            SegmentationStorage,
            findings.uids.uid(SEGMENTATION, "instance"),
            findings.segments[name],
            source_series=sr.SourceSeriesForSegmentation(series_uid),
        ),
        finding_type=_coded(own.FINDINGS[name]),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_sites=[sr.FindingSite(_coded(own.SITES[name]))] if name in own.SITES else None,
        algorithm_id=made_by,
        measurements=_volumes(findings, name),
    )


def _segmentation(findings: SeriesFindings) -> list[Dataset]:
    """What highdicom asks of the segmentation that a report refers to."""
    if not findings.segments:
        return []
    image = findings.images[0].reference(findings.study.study_instance_uid)
    image.SOPClassUID = SegmentationStorage
    image.SOPInstanceUID = findings.uids.uid(SEGMENTATION, "instance")
    image.SeriesInstanceUID = findings.uids.uid(SEGMENTATION)
    return [image]


def _slice_group(findings: SeriesFindings, place: int) -> sr.MeasurementsAndQualitativeEvaluations:
    """The probabilities of a slice."""
    return sr.MeasurementsAndQualitativeEvaluations(
        # As people count them.
        tracking_identifier=_tracked(findings, f"slice {place + 1}"),
        measurements=[
            _probability(float(value), name=_coded(own.PROBABILITIES[name]))
            for name, value in zip(CLASSES, findings.probabilities[place], strict=True)
        ],
        source_images=[_source(findings.images[place])],
    )


def _listed(findings: SeriesFindings) -> list[int]:
    """Places of the slices that a report lists: all, or the most suspicious of many."""
    order = (-findings.probabilities[:, ANY]).argsort(kind="stable")
    return sorted(order[:_MAX_LISTED].tolist())


def _source(image: SourceImage) -> sr.SourceImageForMeasurementGroup:
    return sr.SourceImageForMeasurementGroup(
        image.sop_class_uid, image.sop_instance_uid, [image.frame] if image.frame else None
    )


def _tracked(findings: SeriesFindings, *parts: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(
        uid=findings.uids.uid("tracked", *parts), identifier=", ".join(parts)
    )


def _coded(triple: own.Triple) -> sr.CodedConcept:
    return sr.CodedConcept(*triple)


def _probability(
    value: float, derivation: Code | None = None, name: Code | sr.CodedConcept | None = None
) -> sr.Measurement:
    return sr.Measurement(
        name=name or codes.DCM.Probability,
        # A decimal string has 16 characters (PS3.5 6.2).
        value=float(f"{value:.8g}"),
        unit=codes.UCUM.NoUnits,
        derivation=derivation,
    )


def _volumes(findings: SeriesFindings, name: str) -> list[sr.Measurement]:
    """The volume of a class in the series, if it is known."""
    volumes = {kind: ml[name] for kind, ml in (findings.summary.get("volumes") or {}).items()}
    return [] if volumes.get("ml") is None else [_volume(volumes)]


def _volume(volumes: Mapping[str, float | None]) -> sr.Measurement:
    """The volume of a class by kind, and how far the true one may lie below and above (TID 310)."""
    ml, low, high = (volumes.get(kind) for kind in ("ml", "likely_low_ml", "likely_high_ml"))
    assert ml is not None
    properties = sr.MeasurementProperties()
    if low is not None and high is not None:
        # highdicom's own arguments for these have no unit.
        properties.extend([_range(own.UPPER, high - ml), _range(own.LOWER, ml - low)])
    return sr.Measurement(
        name=codes.SCT.Volume,
        value=float(f"{ml:.8g}"),
        unit=_coded(own.MILLILITRE),
        method=_coded(own.AREAS_TIMES_DISTANCES),
        properties=properties if len(properties) else None,
    )


def _range(name: own.Triple, ml: float) -> sr.NumContentItem:
    return sr.NumContentItem(
        name=_coded(name),
        value=float(f"{ml:.8g}"),
        unit=_coded(own.MILLILITRE),
        relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
    )
