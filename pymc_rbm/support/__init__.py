"""Compiled graphs, fast calls, Ctrl-C, bars, R-hat: nothing here knows an RBM."""
