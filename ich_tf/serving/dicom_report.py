"""Predictions as DICOM: a structured report of a series, a picture of a slice and its heat map.

No id of the files that were sent is kept, so none is written: patient, study and images get UIDs
and names that are derived from the study's key, and tell nothing without it. A person who files a
report knows the study that was sent.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import highdicom
import numpy as np
from highdicom import sr
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage

from ich_tf import __version__
from ich_tf.inference.explainer import captioned, overlay
from ich_tf.labels import CLASSES
from ich_tf.serving.answers import NOTE, Model, orientation_marks
from ich_tf.serving.study import PredictedSeries, SliceFile
from ich_tf.windows import HU_RANGE, PRESETS, apply_windows, quantize_hu

# highdicom logs every module that it copies.
logging.getLogger("highdicom").setLevel(logging.WARNING)
_MAKER = "ich_tf"
# Scheme of the codes for which DICOM's context groups have none; PS3.16 leaves schemes that begin
# with 99 to everyone.
_SCHEME = "99ICHTF"
_MEANINGS = {
    "epidural": "Epidural hemorrhage",
    "intraparenchymal": "Intraparenchymal hemorrhage",
    "intraventricular": "Intraventricular hemorrhage",
    "subarachnoid": "Subarachnoid hemorrhage",
    "subdural": "Subdural hemorrhage",
}
_PROBABILITY_OF = {
    name: sr.CodedConcept(
        f"p_{name}"[:16],
        _SCHEME,
        f"Probability of {_MEANINGS.get(name, 'Intracranial hemorrhage').lower()}",
    )
    for name in CLASSES
}
# Of CID 7474; the meaning there is longer than its 64 characters may be.
_AREAS_TIMES_DISTANCES = sr.CodedConcept(
    "122503", "DCM", "Integration of sum of closed areas on contiguous slices"
)
_MILLILITRE = sr.CodedConcept("ml", "UCUM", "milliliter")
# How far a value may lie above and below (TID 310).
_UPPER = sr.CodedConcept("371886008", "SCT", "+, range of upper measurement uncertainty")
_LOWER = sr.CodedConcept("371885007", "SCT", "-, range of lower measurement uncertainty")
# Maximum number of slices in a report: highdicom takes 30 ms a slice.
_MAX_LISTED = 200
_SERIES_NUMBER = 9000


@dataclass(frozen=True)
class Pseudonyms:
    """Ids that are derived from a study's key.

    Attributes:
      key: Key of the study.
    """

    key: str

    def uid(self, *parts: object) -> str:
        """Makes the UID of the study, or of a part of it (PS3.5 B.2)."""
        text = "/".join(map(str, (self.key, *parts)))
        return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"

    @property
    def patient_id(self) -> str:
        """Patient id of this study alone."""
        return f"ICH-TF-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"

    def image(self, series: int, number: int) -> Dataset:
        """Makes the attributes of an image that a report refers to.

        Args:
          series: Index of the series in the study, from 0.
          number: Index of the slice in the series, from 0.
        """
        image = Dataset()
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = self.uid("series", series, "slice", number)
        image.StudyInstanceUID = self.uid()
        image.SeriesInstanceUID = self.uid("series", series)
        image.PatientID = self.patient_id
        for keyword in (
            "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
            "StudyDate", "StudyTime", "ReferringPhysicianName",
        ):  # fmt: skip
            setattr(image, keyword, "")
        image.Modality = "CT"
        image.Rows = image.Columns = 1
        return image


def structured_report(key: str, number: int, series: PredictedSeries, model: Model) -> bytes:
    """Writes probabilities and volumes of a series and its slices (PS3.16 TID 1500) as DICOM.

    Args:
      key: Key of the study.
      number: Index of the series in the study, from 0.
      series: Series with its predictions.
      model: Model that predicted it.
    """
    ids = Pseudonyms(key)
    listed = _listed(series)
    cited = sorted({*listed, *series.summary["most_suspicious"].values()})
    images = {place: ids.image(number, place) for place in cited}
    algorithm = sr.AlgorithmIdentification(
        name=f"{_MAKER}: {model.description}"[:64],
        version=f"{__version__}, weights {model.sha256[:12]}",
        parameters=[
            NOTE,
            f"Postprocessing: {model.postprocessing}",
            f"Slices listed: {len(listed)} of {len(series.slices)}",
        ],
        manufacturer=_MAKER,
    )
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=ids.uid("device"), name=f"{_MAKER} - {NOTE}", manufacturer_name=_MAKER
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ComputedTomographyOfHead,
        imaging_measurements=[
            *(_class_group(ids, name, series, images, algorithm) for name in CLASSES),
            # A group for each slice, not for each slice and class: highdicom takes 8 ms a group.
            *(_slice_group(ids, place, series, images[place]) for place in listed),
        ],
    )
    report = sr.ComprehensiveSR(
        evidence=list(images.values()),
        content=content[0],
        series_instance_uid=ids.uid("report", number),
        series_number=_SERIES_NUMBER + number,
        sop_instance_uid=ids.uid("report", number, "instance"),
        instance_number=1,
        manufacturer=_MAKER,
        is_complete=True,
        content_qualification="RESEARCH",
        series_description=f"{_MAKER} probabilities. {NOTE}",
        software_versions=__version__,
    )
    return _file(report)


def _class_group(
    ids: Pseudonyms,
    name: str,
    series: PredictedSeries,
    images: Mapping[int, Dataset],
    algorithm: sr.AlgorithmIdentification,
) -> sr.MeasurementsAndQualitativeEvaluations:
    """The greatest probability of a class in the series; its volume and the decision, if any."""
    summary = series.summary
    decision = summary["decisions"][name]
    evaluations = []
    if decision is not None:
        above = sr.CodedConcept("at_operating_point", _SCHEME, "At or above operating point")
        value = codes.SCT.Present if decision else codes.SCT.Absent
        evaluations.append(sr.QualitativeEvaluation(above, value))
    image = images[summary["most_suspicious"][name]]
    measurements = [_probability(summary["max"][name], codes.SCT.Maximum)]
    volumes = {kind: ml[name] for kind, ml in (summary.get("volumes") or {}).items()}
    if volumes.get("ml") is not None:
        measurements.append(_volume(volumes))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(ids, "series", name),
        finding_type=_finding(name),
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image)],
    )


def _slice_group(
    ids: Pseudonyms, place: int, series: PredictedSeries, image: Dataset
) -> sr.MeasurementsAndQualitativeEvaluations:
    """The probabilities of a slice."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(ids, f"slice {place}"),
        measurements=[
            _probability(value, name=_PROBABILITY_OF[name])
            for name, value in zip(CLASSES, series.probabilities[place], strict=True)
        ],
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image)],
    )


def heat_map_picture(
    key: str,
    series: int,
    number: int,
    slice_: SliceFile,
    hu: np.ndarray,
    heat: np.ndarray,
    name: str,
    model: Model,
    caption: str,
) -> bytes:
    """Draws a slice in the brain window under its heat map, as a DICOM secondary capture.

    Args:
      key: Key of the study.
      series: Index of the series in the study, from 0.
      number: Index of the slice in the series, from 0.
      slice_: Geometry of the slice.
      hu: Hounsfield units of the slice, float32 [rows, columns].
      heat: Heat map of the slice, uint8 [rows, columns].
      name: Class of the heat map, one of `CLASSES`.
      model: Model that the heat map explains.
      caption: Description of the probability that it explains.
    """
    ids = Pseudonyms(key)
    grey = apply_windows(quantize_hu(np.clip(hu, *HU_RANGE)), [PRESETS["brain"]])[..., 0]
    picture = overlay(grey, heat / np.float32(255))
    marks = orientation_marks(slice_.orientation)
    image = SCImage(
        pixel_array=captioned(
            picture, f"{name}: attention, not segmentation. {NOTE} {caption}.", 60
        ),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system=highdicom.CoordinateSystemNames.PATIENT,
        study_instance_uid=ids.uid(),
        series_instance_uid=ids.uid("heat maps", series),
        series_number=_SERIES_NUMBER + 100 + series,
        sop_instance_uid=ids.uid("heat maps", series, number, name),
        instance_number=1 + number * len(CLASSES) + CLASSES.index(name),
        manufacturer=_MAKER,
        patient_id=ids.patient_id,
        patient_orientation=(marks.right, marks.bottom),
        pixel_spacing=(slice_.spacing_mm[0], slice_.spacing_mm[1]),
        content_qualification="RESEARCH",
        series_description=f"{_MAKER} heat maps. {NOTE}"[:64],
        software_versions=__version__,
    )
    image.BurnedInAnnotation = "NO"  # no text that identifies the patient (PS3.3 C.7.6.1.1.1)
    image.ImageComments = (
        f"{NOTE}. Attention of the class {name}, not a segmentation. The heat map {caption}."
    )
    image.DerivationDescription = f"{model.description}, weights {model.sha256[:12]}"
    return _file(image)


def _listed(series: PredictedSeries) -> list[int]:
    """Indices of the slices that a report lists: all, or the most suspicious of many."""
    any_bleed = np.array(series.probabilities)[:, CLASSES.index("any")]
    return sorted(np.argsort(-any_bleed, kind="stable")[:_MAX_LISTED].tolist())


def _tracked(ids: Pseudonyms, *parts: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=ids.uid("tracked", *parts), identifier=", ".join(parts))


def _finding(name: str) -> sr.CodedConcept:
    if name not in _MEANINGS:
        any_of_them = codes.SCT.IntracranialHemorrhage
        return sr.CodedConcept(any_of_them.value, "SCT", "Intracranial hemorrhage")
    return sr.CodedConcept(name, _SCHEME, _MEANINGS[name])


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


def _volume(volumes: Mapping[str, float | None]) -> sr.Measurement:
    """The volume of a class by kind, and how far the true one may lie below and above (TID 310)."""
    ml, low, high = (volumes.get(kind) for kind in ("ml", "likely_low_ml", "likely_high_ml"))
    assert ml is not None
    properties = sr.MeasurementProperties()
    if low is not None and high is not None:
        # highdicom's own arguments for these have no unit.
        properties.extend([_range(_UPPER, high - ml), _range(_LOWER, ml - low)])
    return sr.Measurement(
        name=codes.SCT.Volume,
        value=float(f"{ml:.8g}"),
        unit=_MILLILITRE,
        method=_AREAS_TIMES_DISTANCES,
        properties=properties if len(properties) else None,
    )


def _range(name: sr.CodedConcept, ml: float) -> sr.NumContentItem:
    return sr.NumContentItem(
        name=name,
        value=float(f"{ml:.8g}"),
        unit=_MILLILITRE,
        relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
    )


def _file(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
