"""Synthetic head CT studies in RSNA's layout: volumes with bleeds, scanned into DICOM files.

  config   how many patients, which bleeds, which scanner
  shapes   distances from surfaces
  anatomy  a head as functions of place: skull, brain, ventricles, cisterns
  lesions  the five bleeds as functions of place
  scanner  planes through the head -> Hounsfield units: partial volume, blur, noise, artefacts
  study    a patient -> studies with masks
  headers  a study -> DICOM files with RSNA's headers and oddities
  dataset  the folder: files, label CSVs, phantoms.json

They are drawings with physics, not patients: for tests and demonstrations of mechanics only.
"""

from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.dataset import Summary, write_dataset
from ich_tf.phantom.scanner import Geometry
from ich_tf.phantom.study import PatientPlan, Study, make_patient, make_study, plan_patients

__all__ = [
    "Geometry",
    "PatientPlan",
    "PhantomConfig",
    "Study",
    "Summary",
    "make_patient",
    "make_study",
    "plan_patients",
    "write_dataset",
]
