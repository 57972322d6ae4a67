"""Executors, which map functions over items: local processes, Dask or Beam."""
