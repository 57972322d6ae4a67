"""Heads of the basic realism: drawings with physics, quick to make.

head             one patient's head: sizes, densities, maps of the surface
place            points, and their position relative to a head's anatomy
skull            air, skin, bone, orbits and sinuses
fluid_spaces     ventricles, sulci and cisterns
tissue           the tissue at each point of a head without bleeds
lesions          the five kinds of bleed
lesion_sampling  random bleeds of a given volume
scanner          planes through a head -> Hounsfield units: partial volume, noise, artefacts
patient          all of these -> the studies of a patient
"""
