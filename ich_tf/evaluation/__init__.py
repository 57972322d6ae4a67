"""Evaluation: scores with intervals, leakage, heat maps, reports."""
