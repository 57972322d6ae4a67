"""From a work dir to calibrated probabilities."""
