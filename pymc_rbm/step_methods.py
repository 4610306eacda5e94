"""BlockGibbs: the step method that PyMC picks for RBM and Hidden variables."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.distribution import PartialObservedRV
from pymc.model import modelcontext
from pymc.step_methods import STEP_METHODS
from pymc.step_methods.compound import BlockedStep, Competence, StepMethodState
from pymc.step_methods.state import dataclass_state
from pymc.util import get_random_generator, get_value_vars_from_user_vars
from pytensor.compile.io import In, Out
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs
from pytensor.tensor.variable import TensorVariable
from rich.progress import TextColumn
from rich.table import Column

from pymc_rbm.checks import whole_number
from pymc_rbm.enumeration import sizes_of
from pymc_rbm.gibbs import sweep
from pymc_rbm.gibbs import sweeps as run_sweeps
from pymc_rbm.interrupts import DeferredInterrupt
from pymc_rbm.lookup import dependants, machine_of_rv, rbm_of
from pymc_rbm.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.random_variables import HiddenRV, MachineRV

__all__ = ["BlockGibbs", "register"]


@dataclass_state
class BlockGibbsState(StepMethodState):
    """What a chain carries besides PyMC's point: its random generator."""


class BlockGibbs(BlockedStep):
    """Block Gibbs sampling of RBM and Hidden variables.

    One draw runs ``sweeps`` times

    1. all hidden units given the visible ones (inside the step; they need no variable of their own),
    2. all free visible units given the hidden ones,

    and last, once, draws the `Hidden` variables of the model from p(h | v). This leaves p(v), or p(v, h), or the
    conditional given what is observed, invariant. ``pm.sample`` picks the step by itself for these cases: v free, v
    masked (the observed entries are held), v observed and h free, h observed and v free (exact draws).

    Parameters
    ----------
    vars : list of variables, optional
        RBM and Hidden variables. Default: all of the model's.
    sweeps : int, default 1
        Sweeps per stored draw. Through ``pm.sample``: ``pm.sample(block_gibbs={"sweeps": 10})``.
    model : Model, optional
    rng : Generator or seed, optional
    initial_point, compile_kwargs, blocked
        As in PyMC's steps. The variables are always updated together.

    Raises
    ------
    ValueError
        If a variable has dependants that this step would ignore (likelihoods, Potentials, parameters of others):
        block Gibbs would then sample the prior. Also if ``vars`` are of another kind, or leave out the Hidden
        variable of an RBM.

    Notes
    -----
    Sampler statistics, per draw: ``free_energy`` of the visible state (mean over rows; summed over machines),
    ``flipped``, the share of sampled units that changed, ``visible_mean`` and ``hidden_mean``, the mean activations
    (the hidden one as probability given v), and ``sweeps``, the number of sweeps a draw, by which `diagnose` states
    autocorrelation in sweeps; ``blocks``, how many groups of units a sweep updates one after the other (two in a
    restricted machine, the colours or the units of a general one).

    References
    ----------
    .. [1] Geman, S., Geman, D. (1984). Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of
       images. IEEE Transactions on Pattern Analysis and Machine Intelligence 6, 721-741.
    """

    name = "block_gibbs"
    stats_dtypes_shapes: ClassVar[dict] = {
        "free_energy": (np.float64, []),
        "flipped": (np.float64, []),
        "visible_mean": (np.float64, []),
        "hidden_mean": (np.float64, []),
        "sweeps": (np.int64, []),
        "blocks": (np.int64, []),
    }
    _state_class = BlockGibbsState

    def __init__(
        self,
        vars=None,
        *,
        sweeps: int = 1,
        model=None,
        rng=None,
        initial_point=None,
        compile_kwargs: dict | None = None,
        blocked: bool = True,
    ):
        model = modelcontext(model)
        self.sweeps = whole_number("sweeps", sweeps)
        self.rng = get_random_generator(rng)
        if vars is None:
            vars = [rv for rv in model.free_RVs if _visible_kind(rv) or isinstance(rv.owner.op, HiddenRV)]
        self.vars = get_value_vars_from_user_vars(vars, model)
        rvs = [model.values_to_rvs[value] for value in self.vars]
        _check(model, rvs)
        machines = [machine_of_rv(rbm_of(rv)) for rv in rvs if not isinstance(rv.owner.op, HiddenRV)]
        self.blocks = sum(machine.count_blocks(sizes_of(machine)) for machine in machines) or 1
        self._inputs, self._function = _compile_transition(model, rvs, self.sweeps, compile_kwargs or {})

    def step(self, point):
        """Return the next point and the statistics."""
        arguments = [point[name] for name in self._inputs]
        with DeferredInterrupt(reraise=True):  # PyMC keeps the draws so far
            self.rng, *outputs = self._function(self.rng, *arguments)
        values = {var.name: new for var, new in zip(self.vars, outputs, strict=False)}
        stats = {name: float(x) for name, x in zip(self.stats_dtypes_shapes, outputs[len(self.vars) :], strict=False)}
        return {**point, **values}, [{**stats, "sweeps": self.sweeps, "blocks": self.blocks}]

    @staticmethod
    def competence(var, has_grad=False):
        """IDEAL for RBM variables (free or masked) and Hidden variables, INCOMPATIBLE for all others."""
        if _visible_kind(var) or isinstance(getattr(var.owner, "op", None), HiddenRV):
            return Competence.IDEAL
        return Competence.INCOMPATIBLE

    @staticmethod
    def _progressbar_config(n_chains=1):
        columns = [
            TextColumn("{task.fields[free_energy]:.2f}", table_column=Column("Free energy", ratio=1)),
            TextColumn("{task.fields[flipped]:.1%}", table_column=Column("Units flipped", ratio=1)),
        ]
        return columns, {"free_energy": [0.0] * n_chains, "flipped": [0.0] * n_chains}

    @staticmethod
    def _make_progressbar_update_functions():
        return (lambda stats: {key: stats[key] for key in ("free_energy", "flipped")},)


def register() -> None:
    """Add BlockGibbs to the step methods that ``pm.sample`` chooses from, once."""
    if not any(method.name == BlockGibbs.name for method in STEP_METHODS):
        STEP_METHODS.append(BlockGibbs)


def _visible_kind(rv: Variable) -> str | None:
    """How an RBM variable is sampled: "free" as a whole, "masked" in its unobserved entries, None if it is none."""
    node = rv.owner
    if node is None:
        return None
    if isinstance(node.op, MachineRV):
        return "free"
    if isinstance(node.op, PartialObservedRV) and isinstance(getattr(node.inputs[0].owner, "op", None), MachineRV):
        return "masked"
    return None


def _hidden_children(model: pm.Model, rv: Variable) -> list[TensorVariable]:
    return [x for x in dependants(model, rv) if isinstance(getattr(x.owner, "op", None), HiddenRV)]


def _check(model: pm.Model, rvs: list[TensorVariable]) -> None:
    """Refuse whatever the transition would get wrong."""
    for rv in rvs:
        is_hidden = isinstance(rv.owner.op, HiddenRV)
        if not is_hidden and not _visible_kind(rv):
            raise ValueError(f"BlockGibbs samples RBM and Hidden variables; {rv.name} is neither.")
        others = dependants(model, rv)
        children = [] if is_hidden else _hidden_children(model, rv)
        ignored = [x.name for x in others if x not in children]
        if ignored:
            raise ValueError(
                f"{rv.name} has dependants that BlockGibbs does not account for: {ignored}. It would silently sample "
                f"{rv.name} as if they did not exist. Express them through the machine (visible units, covariates in "
                f"b), or observe {rv.name}."
            )
        left_out = [x.name for x in children if x in model.free_RVs and x not in rvs]
        if left_out:
            raise ValueError(
                f"{rv.name} and its hidden units must be updated together: add {left_out} to the vars of BlockGibbs."
            )
        given = [x for x in children if x in model.observed_RVs]
        if any(x.owner.inputs[2] is not rv for x in given) and _visible_kind(rv) == "free":
            raise ValueError(
                f"{rv.name} stands for masked rows of a variable with observed hidden units. Mask single entries, or "
                "leave these rows out."
            )
        if len(given) > 1:
            raise ValueError(
                f"More than one observed Hidden variable of {rv.name}: their joint conditional is not that of an RBM."
            )


def _compile_transition(model: pm.Model, rvs: list[TensorVariable], n: int, compile_kwargs: dict):
    """Compile (rng, values…) -> (rng, new value of each variable, statistics); return the inputs' names, too."""
    rng = next_rng = pt.random.rng("rng")
    new: dict[Variable, TensorVariable] = {}
    described: list[tuple[Machine, TensorVariable]] = []
    seen: set[Variable] = set()  # visible variables of Hidden ones, which may share them
    for rv in rvs:
        if not isinstance(rv.owner.op, HiddenRV):
            new[rv], v, next_rng = _new_visible(model, rv, n, next_rng)
            described.append((machine_of_rv(rbm_of(rv)), v))
    for rv in rvs:
        if isinstance(rv.owner.op, HiddenRV):
            v_in = rv.owner.inputs[2]
            new[rv], v, next_rng = _new_hidden(rv, new, next_rng)
            if v_in not in seen and not set(ancestors([v_in])) & set(new):
                described.append((_machine_of_hidden(rv), v))
                seen.add(v_in)

    changed = [pt.neq(new[rv], model.rvs_to_values[rv]) for rv in rvs]
    with_hidden = [(machine, v) for machine, v in described if len(machine.layers) > 1]
    has_energy = all(machine.layers[VISIBLE].bias is not None for machine, _ in described)
    statistics = [
        sum(machine.free_energy(v).mean() for machine, v in described) if has_energy else np.nan,
        sum(x.sum() for x in changed) / sum(x.size for x in changed),
        sum(v.mean() for _, v in described) / len(described),
        sum(machine.mean(HIDDEN, machine.at(v)).mean() for machine, v in with_hidden) / len(with_hidden)
        if with_hidden
        else np.nan,
    ]
    outputs = [new[rv].astype(rv.dtype) for rv in rvs] + [pt.as_tensor(s).astype("float64") for s in statistics]
    outputs = model.replace_rvs_by_values(outputs)
    inputs = [x for x in explicit_graph_inputs(outputs) if x in model.value_vars]
    function = pm.compile([In(rng, mutable=True), *inputs], [Out(next_rng, borrow=True), *outputs], **compile_kwargs)
    return [x.name for x in inputs], function


def _new_visible(model: pm.Model, rv: TensorVariable, n: int, rng):
    """The new value of a visible variable, the whole visible state that it belongs to, and the next rng."""
    machine = machine_of_rv(rbm_of(rv))
    value, held = model.rvs_to_values[rv], None
    if _visible_kind(rv) == "masked":
        _, mask = rv.owner.inputs  # one entry a unit: PyMC splits masks over whole rows by itself
        observed = model.rvs_to_values[rv.owner.outputs[0]]
        v = pt.zeros(mask.shape, dtype=rv.dtype)
        v, held = v[mask].set(value)[~mask].set(observed), ~mask
    else:
        v = value
    observed_hidden = [x for x in _hidden_children(model, rv) if x in model.observed_RVs]
    if observed_hidden:
        state = [v, model.rvs_to_values[observed_hidden[0]]]
        (v, _), rng = sweep(machine, state, rng, clamped=[held, True])
    else:
        (v, *_), rng = run_sweeps(machine, machine.at(v), rng, n, clamped=machine.at(held))
    return v if held is None else v[mask], v, rng


def _machine_of_hidden(rv: TensorVariable) -> Machine:
    """The machine of a Hidden variable; without visible biases where v has been replaced by data (``pm.do``)."""
    _, _, v, *parameters = rv.owner.inputs
    try:
        return machine_of_rv(rbm_of(v))
    except ValueError:
        return rv.owner.op.machine(*parameters)


def _new_hidden(rv: TensorVariable, new: dict[Variable, TensorVariable], rng):
    """A hidden variable drawn given the visible state after the sweeps, that state, and the next rng."""
    v = rv.owner.inputs[2]
    machine = _machine_of_hidden(rv)
    [v] = graph_replace([v], {x: y for x, y in new.items() if x in set(ancestors([v]))}, strict=False)
    (_, h), rng = sweep(machine, [v, None], rng, clamped=[True, None])
    return h, v, rng
