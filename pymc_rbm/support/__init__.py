"""These tools know nothing of RBMs: compiled graphs, fast calls, Ctrl-C, progress bars, R-hat."""
