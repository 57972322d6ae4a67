"""Steps from logits to probabilities: mixture, smoothing, calibration, prevalence, aggregation."""
