"""Mutation testing: small faults are put into modules, and the fast tests must notice them."""
