"""What was found, as DICOM: a structured report of a series, a picture of a slice and its heat map.

No id of the files that were sent is kept, so none is written: patient, study and images have UIDs
and names of their own, which follow from the study's key and say nothing without it. Whoever wants
to file a report knows which study it was made of.
"""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass

import cv2
import highdicom
import numpy as np
from highdicom import sr
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage

from ich_tf import __version__
from ich_tf.inference.explainer import overlay
from ich_tf.labels import CLASSES
from ich_tf.serving.answers import NOTE, Model, orientation_marks
from ich_tf.serving.studies import FoundSeries, SlicePlace
from ich_tf.windows import PRESETS

# It tells of every module that it copies.
logging.getLogger("highdicom").setLevel(logging.WARNING)
_MAKER = "ich_tf"
# Those of DICOM's context groups where there is one; PS3.16 leaves schemes that begin with 99 to
# everyone.
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
# highdicom takes 30 ms a slice.
_MOST_LISTED = 200
_SERIES_NUMBER = 9000


@dataclass(frozen=True)
class Pseudonyms:
    """Ids that follow from a study's key.

    Attributes:
      key: The study's.
    """

    key: str

    def uid(self, *parts: object) -> str:
        """A UID of the study, or of a part of it (PS3.5 B.2)."""
        text = "/".join(map(str, (self.key, *parts)))
        return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"

    @property
    def patient_id(self) -> str:
        """Of a patient who is nobody else's."""
        return f"ICH-TF-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"

    def image(self, series: int, number: int) -> Dataset:
        """What a report has to know of an image that it cites."""
        found = Dataset()
        found.SOPClassUID = CTImageStorage
        found.SOPInstanceUID = self.uid("series", series, "slice", number)
        found.StudyInstanceUID = self.uid()
        found.SeriesInstanceUID = self.uid("series", series)
        found.PatientID = self.patient_id
        for keyword in (
            "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
            "StudyDate", "StudyTime", "ReferringPhysicianName",
        ):  # fmt: skip
            setattr(found, keyword, "")
        found.Modality = "CT"
        found.Rows = found.Columns = 1
        return found


def structured_report(key: str, series: int, found: FoundSeries, model: Model) -> bytes:
    """The probabilities of a series and its slices (PS3.16 TID 1500), as a DICOM file.

    Args:
      key: Of the study.
      series: Of the study, from 0.
      found: The series.
      model: That predicted it.
    """
    ids = Pseudonyms(key)
    summary = found.summary
    listed = _listed(found)
    cited = sorted({*listed, *summary["most_suspicious"].values()})
    images = {number: ids.image(series, number) for number in cited}
    algorithm = sr.AlgorithmIdentification(
        name=f"{_MAKER}: {model.description}"[:64],
        version=f"{__version__}, weights {model.sha256[:12]}",
        parameters=[
            NOTE,
            f"Postprocessing: {model.postprocessing}",
            f"Slices listed: {len(listed)} of {len(found.slices)}",
        ],
        manufacturer=_MAKER,
    )
    groups = []
    for name in CLASSES:
        place = summary["most_suspicious"][name]
        decision = summary["decisions"][name]
        evaluations = []
        if decision is not None:
            said = codes.SCT.Present if decision else codes.SCT.Absent
            above = sr.CodedConcept("at_operating_point", _SCHEME, "At or above operating point")
            evaluations = [sr.QualitativeEvaluation(above, said)]
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=_tracked(ids, "series", name),
                finding_type=_finding(name),
                algorithm_id=algorithm,
                measurements=[_probability(summary["max"][name], codes.SCT.Maximum)],
                qualitative_evaluations=evaluations,
                source_images=[sr.SourceImageForMeasurementGroup.from_source_image(images[place])],
            )
        )
    # A group a slice, not one a slice and class: highdicom takes 8 ms for each.
    groups += [
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracked(ids, f"slice {number}"),
            measurements=[
                _probability(value, name=_PROBABILITY_OF[name])
                for name, value in zip(CLASSES, found.probabilities[number], strict=True)
            ],
            source_images=[sr.SourceImageForMeasurementGroup.from_source_image(images[number])],
        )
        for number in listed
    ]
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=ids.uid("device"), name=f"{_MAKER} - {NOTE}", manufacturer_name=_MAKER
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ComputedTomographyOfHead,
        imaging_measurements=groups,
    )
    report = sr.ComprehensiveSR(
        evidence=list(images.values()),
        content=content[0],
        series_instance_uid=ids.uid("report", series),
        series_number=_SERIES_NUMBER + series,
        sop_instance_uid=ids.uid("report", series, "instance"),
        instance_number=1,
        manufacturer=_MAKER,
        is_complete=True,
        content_qualification="RESEARCH",
        series_description=f"{_MAKER} probabilities. {NOTE}",
        software_versions=__version__,
    )
    return _file(report)


def heat_map_picture(
    key: str,
    series: int,
    number: int,
    place: SlicePlace,
    hu: np.ndarray,
    heat: np.ndarray,
    name: str,
    model: Model,
) -> bytes:
    """A slice in the brain window under its heat map, a secondary capture, as a DICOM file.

    Args:
      key: Of the study.
      series: Of the study, from 0.
      number: Of the slice, from 0.
      place: The slice.
      hu: Its Hounsfield units, float32 [rows, columns].
      heat: Its heat map, uint8 [rows, columns].
      name: Of the class.
      model: That was asked.
    """
    ids = Pseudonyms(key)
    window = PRESETS["brain"]
    grey = np.clip((hu - (window.center - window.width / 2)) / window.width, 0, 1) * 255
    picture = overlay(np.rint(grey).astype(np.uint8), heat / np.float32(255))
    marks = orientation_marks(place.orientation)
    found = SCImage(
        pixel_array=_noted(picture, f"{name}: attention, not segmentation. {NOTE}"),
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
        pixel_spacing=(place.spacing_mm[0], place.spacing_mm[1]),
        content_qualification="RESEARCH",
        series_description=f"{_MAKER} heat maps. {NOTE}"[:64],
        software_versions=__version__,
    )
    found.BurnedInAnnotation = "NO"  # of what could tell who the patient is (PS3.3 C.7.6.1.1.1)
    found.ImageComments = f"{NOTE}. Attention of the class {name}, not a segmentation."
    found.DerivationDescription = f"{model.description}, weights {model.sha256[:12]}"
    return _file(found)


def _listed(found: FoundSeries) -> list[int]:
    """The slices whose probabilities a report lists: all, or the most suspicious of many."""
    any_bleed = np.array(found.probabilities)[:, CLASSES.index("any")]
    return sorted(np.argsort(-any_bleed, kind="stable")[:_MOST_LISTED].tolist())


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


def _noted(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture with a line of text on a bar below it, uint8 [rows + bar, columns, 3]."""
    columns = picture.shape[1]
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = 0.96 * columns / width
    bar = np.zeros((max(4, round(2 * height * scale)), columns, 3), np.uint8)
    place = (round(0.02 * columns), round(1.5 * height * scale))
    cv2.putText(bar, text, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([picture, bar])


def _file(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
