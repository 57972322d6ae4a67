"""Measures of head CT, real or synthetic, and how the two compare.

  series          a folder of CT files -> its series, each one array
  regions         head, bone, cavity, brain, white matter and fluid of a series
  noise           level and power spectrum of the noise in white matter
  sharpness       modulation transfer function, from the edge of the skull
  statistics      what a statistic of slices is
  tissues         Hounsfield units of the tissues, and their histograms
  texture         structure of the brain by scale, gradients, sulci
  anatomy         size and shape of head and skull
  surroundings    holder, table, air, and where the head lies
  streaks         beam hardening between the petrous bones
  patches         features of patches of brain and skull
  measurement     all of these of one series
  discrimination  how well patches tell phantoms from real scans
  comparison      distances of statistics, in spreads of the real scans
  table, report   the comparison as text, JSON and HTML
  realism         two folders -> the report

TensorFlow is not imported.
"""
