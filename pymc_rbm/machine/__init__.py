"""Layers and couplings make one energy; its algebra is here: exact sums, formulas, validation and entry of data."""
