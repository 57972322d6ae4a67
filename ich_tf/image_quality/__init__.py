"""Measures of CT images of heads, real or synthetic: regions, noise, sharpness.

  series      a folder of CT files -> its series, each one array
  regions     head, bone, cavity, brain, white matter and fluid of a series
  noise       level and power spectrum of the noise in white matter
  sharpness   modulation transfer function, from the edge of the skull

TensorFlow is not imported.
"""
