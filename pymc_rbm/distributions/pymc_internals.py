"""What the package uses of PyMC that PyMC does not promise to keep: if something of it moves, this file fails first."""

from __future__ import annotations

import pymc as pm

__all__ = [
    "STEP_METHODS",
    "BlockedStep",
    "Competence",
    "FlatRV",
    "ImputationWarning",
    "PartialObservedRV",
    "ProgressBarManager",
    "StepMethodState",
    "SymbolicRandomVariable",
    "ValuedRV",
    "_logprob",
    "_support_point",
    "dataclass_state",
    "discrete_types",
    "early_measurable_ir_rewrites_db",
    "fgraph_from_model",
    "get_random_generator",
    "get_value_vars_from_user_vars",
    "make_initial_point_fn",
    "maybe_resize",
    "model_from_fgraph",
]

try:
    from pymc.distributions.continuous import FlatRV
    from pymc.distributions.distribution import PartialObservedRV, SymbolicRandomVariable, _support_point
    from pymc.distributions.shape_utils import maybe_resize
    from pymc.exceptions import ImputationWarning
    from pymc.initial_point import make_initial_point_fn
    from pymc.logprob.abstract import ValuedRV, _logprob
    from pymc.logprob.rewriting import early_measurable_ir_rewrites_db
    from pymc.model.fgraph import fgraph_from_model, model_from_fgraph
    from pymc.progress_bar import ProgressBarManager
    from pymc.step_methods import STEP_METHODS
    from pymc.step_methods.compound import BlockedStep, Competence, StepMethodState
    from pymc.step_methods.state import dataclass_state
    from pymc.util import get_random_generator, get_value_vars_from_user_vars
    from pymc.vartypes import discrete_types
except ImportError as error:
    raise ImportError(
        f"pymc_rbm needs parts of PyMC that PyMC {pm.__version__} does not have where they were: {error}. Install a "
        "PyMC that it was tested with: pip install 'pymc>=6.3,<6.5'."
    ) from error
