"""Sweeps, chains, forward draws, inpainting, observables."""
