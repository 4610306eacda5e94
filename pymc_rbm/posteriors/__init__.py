"""Posteriors over weights: log Z anchored at a machine that was learned, and whether to believe what is sampled."""
