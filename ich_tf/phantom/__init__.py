"""Synthetic head CT studies in RSNA's layout: volumes with bleeds, scanned into DICOM files.

  config           number of patients, bleeds, scanner
  shapes           distances from surfaces
  geometry         position of slices and head in patient coordinates
  study            a study with masks; who of a set bleeds, and how
  bit_masks        shares of blood -> the masks of a slice
  truth            what is known of a study's bleeds
  basic/           heads that are quick to make
  full/            heads that look like scans
  headers          a study -> DICOM files with RSNA's headers and oddities
  archive_headers  what a scanner's headers have and RSNA's lack
  dataset          the folder of a set: files, label CSVs, phantoms.json
  samples          single series of a set, for the web page

They are drawings with physics, not patients: for tests and demonstrations of mechanics only.
"""

from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.dataset import PhantomSummary, write_dataset
from ich_tf.phantom.geometry import Geometry
from ich_tf.phantom.study import PatientPlan, PhantomStudy, plan_patients

__all__ = [
    "Geometry",
    "PatientPlan",
    "PhantomConfig",
    "PhantomStudy",
    "PhantomSummary",
    "plan_patients",
    "write_dataset",
]
