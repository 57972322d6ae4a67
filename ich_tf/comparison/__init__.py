"""Comparison of models on the same patients: differences, margins, and decisions case by case."""
