"""Layers and couplings as one energy, and its algebra: exact sums, formulas, validation, the one door for data."""
