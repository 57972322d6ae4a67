"""Masks of a model that segments, compared with those of the records: scores, charts, pictures."""
