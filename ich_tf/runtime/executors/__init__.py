"""Executors: functions mapped over items by processes of this machine, Dask or Beam."""
