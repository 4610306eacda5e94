"""The kernels: how block Gibbs of binary layers and what goes with it run fast on the numba back end.

Nothing here defines anything. The symbolic graphs of the package say what is computed, and rewrites that only the numba
back end applies (`lowering`) put these kernels in their place where they fit. A reader of the mathematics never needs
to come here.
"""
