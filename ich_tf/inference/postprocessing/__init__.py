"""From logits to probabilities and decisions: smoothing, calibration, mixtures, aggregation."""
