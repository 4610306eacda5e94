"""Sweeps, chains, forward draws, inpainting, and the quantities that chains are judged by."""
