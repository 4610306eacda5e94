"""Fast kernels on the numba back end: sweeps of binary layers, annealing along temperatures, and sums over units.

No mathematics is defined here. The symbolic graphs of the package say what is computed, and rewrites that only the
numba back end applies (`sweep_rewrites`, `field_rewrites`) put these kernels in their place where they fit. A reader of
the mathematics never needs to come here.
"""
