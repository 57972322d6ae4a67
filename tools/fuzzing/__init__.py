"""Damaged files, archives, volumes and masks: their seeds, the damage, and what reading gives."""
