"""Benchmarks: rates on this machine, and ratios within one run. They have no pass or fail."""
