"""Heads that look like scans: every parameter is drawn, from a range with a source.

voxels    what a bleed must know of each voxel, of a synthetic head or of a real scan
bleeds/   bleeds: shape, blood, mass effect
"""
