"""Inference: the models of a work dir, their calibration, prediction and export."""
