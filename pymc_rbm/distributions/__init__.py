"""RBM, Hidden, BoltzmannMachine and other machines as PyMC variables."""
