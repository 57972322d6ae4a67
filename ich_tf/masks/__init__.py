"""Masks of bleeds: bits by class, and how they are found, read and placed on slices."""
