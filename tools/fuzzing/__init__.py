"""Damaged DICOM files and archives: what they are made of, how, and what reading them gives."""
