"""Heads that look like scans: every parameter is drawn, from a range with a source.

anatomy/  one patient's head, without bleeds
voxels    what a bleed must know of each voxel, of a synthetic head or of a real scan
bleeds/   bleeds: shape, blood, mass effect
scanner/  slices through any painted head, with what a scanner and a table add
patient   all of these -> the studies of a patient
"""
