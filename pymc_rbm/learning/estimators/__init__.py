"""Estimators of the negative phase."""
