"""Arguments and marks that many tests pass on."""

import pytest

MUTED = {"progressbar": False}
QUIET = MUTED | {"random_seed": 1}
SILENT = MUTED | {"quiet": True, "compute_convergence_checks": False}
"""For ``pm.sample``."""

MASKED = pytest.mark.filterwarnings("ignore::pymc.exceptions.ImputationWarning")
"""PyMC says that masked data are imputed, as it should."""
