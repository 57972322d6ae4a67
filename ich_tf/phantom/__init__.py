"""Synthetic head CT studies in RSNA's layout: volumes with bleeds, scanned into DICOM files.

  config           number of patients, bleeds, scanner
  shapes           distances from surfaces
  head             one patient's head: sizes, densities, maps of the surface
  place            points, and their position relative to a head's anatomy
  skull            air, skin, bone, orbits and sinuses
  fluid_spaces     ventricles, sulci and cisterns
  tissue           the tissue at each point of a head without bleeds
  lesions          the five kinds of bleed
  lesion_sampling  random bleeds of a given volume
  scanner          planes through a head -> Hounsfield units: partial volume, noise, artefacts
  study            a patient -> studies with masks
  headers          a study -> DICOM files with RSNA's headers and oddities
  dataset          the folder of a set: files, label CSVs, phantoms.json
  samples          single series of a set, for the web page

They are drawings with physics, not patients: for tests and demonstrations of mechanics only.
"""

from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.dataset import PhantomSummary, write_dataset
from ich_tf.phantom.scanner import Geometry
from ich_tf.phantom.study import PatientPlan, PhantomStudy, make_patient, make_study, plan_patients

__all__ = [
    "Geometry",
    "PatientPlan",
    "PhantomConfig",
    "PhantomStudy",
    "PhantomSummary",
    "make_patient",
    "make_study",
    "plan_patients",
    "write_dataset",
]
