"""Heads of the full realism, built on a lattice once a patient and looked up a slice.

traits     what differs from patient to patient, with sources
noise      smooth random fields
lattice    fields at the points of a lattice, and between them
ground     the lattice of a patient, in the standard head
skull      cranial cavity, vault and base
cortex     cortex and its sulci
hindbrain  tentorium, brain stem, cerebellum
fluid      ventricles, fissures, cisterns
tissue     grey and white matter
infarcts   old infarcts
surgery    burr holes, flaps, plates, catheters, clips
dura       dura, venous sinuses, vessels, calcifications
face       skin, muscles, orbits, sinuses, jaws, vertebrae
head       all of these -> the tissue at any point
"""

from ich_tf.phantom.full.anatomy.head import Head, draw_head

__all__ = ["Head", "draw_head"]
