"""Masks of a prediction: volumes of bleeds, and the files that other programs open."""
