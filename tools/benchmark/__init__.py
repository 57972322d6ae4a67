"""Measurements on this machine, as rates and as ratios within one run. Nothing passes or fails."""
