"""RBM, Hidden, BoltzmannMachine and their kin as PyMC variables."""
