"""Sample machines: sweeps, chains, forward draws, inpainting, and the quantities that judge chains."""
