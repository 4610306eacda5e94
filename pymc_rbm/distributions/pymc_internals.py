"""What the package uses of PyMC that PyMC does not promise to keep: if something of it moves, this file fails first."""

from __future__ import annotations

import pymc as pm

__all__ = [
    "STEP_METHODS",
    "BlockedStep",
    "Chain",
    "Competence",
    "FlatRV",
    "ImputationWarning",
    "IntervalTransform",
    "MinibatchRandomVariable",
    "PartialObservedRV",
    "ProgressBarManager",
    "StepMethodState",
    "SymbolicRandomVariable",
    "ValuedRV",
    "_logprob",
    "_support_point",
    "collect_default_updates",
    "conditional_logp",
    "dataclass_state",
    "discrete_types",
    "early_measurable_ir_rewrites_db",
    "fgraph_from_model",
    "get_random_generator",
    "get_value_vars_from_user_vars",
    "ifelse",
    "make_initial_point_fn",
    "maybe_resize",
    "model_from_fgraph",
    "support_point",
]

try:
    from pytensor.conditional.op import ifelse
except ModuleNotFoundError:  # before PyTensor 3.3, which PyMC 6.3.0 and earlier ones take
    from pytensor.ifelse import ifelse

try:
    from pymc.distributions.continuous import FlatRV
    from pymc.distributions.distribution import PartialObservedRV, SymbolicRandomVariable, _support_point, support_point
    from pymc.distributions.shape_utils import maybe_resize
    from pymc.distributions.transforms import Chain
    from pymc.exceptions import ImputationWarning
    from pymc.initial_point import make_initial_point_fn
    from pymc.logprob.abstract import ValuedRV, _logprob
    from pymc.logprob.basic import conditional_logp
    from pymc.logprob.rewriting import early_measurable_ir_rewrites_db
    from pymc.logprob.transforms import IntervalTransform
    from pymc.model.fgraph import fgraph_from_model, model_from_fgraph
    from pymc.progress_bar import ProgressBarManager
    from pymc.pytensorf import collect_default_updates
    from pymc.step_methods import STEP_METHODS
    from pymc.step_methods.compound import BlockedStep, Competence, StepMethodState
    from pymc.step_methods.state import dataclass_state
    from pymc.util import get_random_generator, get_value_vars_from_user_vars
    from pymc.variational.minibatch_rv import MinibatchRandomVariable
    from pymc.vartypes import discrete_types

    if not hasattr(BlockedStep, "setup_chain"):  # before 6.3: chains would inherit what the one before has tuned
        raise ImportError("step methods have no setup_chain")
except ImportError as error:
    raise ImportError(
        f"pymc_rbm needs parts of PyMC that PyMC {pm.__version__} does not have where they were: {error}. Install a "
        "PyMC that it was tested with: pip install 'pymc>=6.3,<6.5'."
    ) from error
