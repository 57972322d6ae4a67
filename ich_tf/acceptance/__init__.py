"""Acceptance of a model at a site: bleeds put into its own scans, and how well they are found."""
