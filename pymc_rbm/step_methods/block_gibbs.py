"""BlockGibbs is the step method that PyMC picks for RBM and Hidden variables."""

from __future__ import annotations

import numpy as np
import pymc as pm
from pytensor.graph.basic import Variable
from rich.progress import TextColumn
from rich.table import Column

from pymc_rbm.distributions.lookup import dependants_of_units, machine_of_rv, rbm_of
from pymc_rbm.distributions.pymc_internals import (
    STEP_METHODS,
    BlockedStep,
    Competence,
    StepMethodState,
    dataclass_state,
    get_random_generator,
    get_value_vars_from_user_vars,
)
from pymc_rbm.machine.enumeration import sizes_of
from pymc_rbm.machine.machine import VISIBLE
from pymc_rbm.step_methods.blocks import blocks_of, hidden_children, is_hidden, visible_kind
from pymc_rbm.step_methods.held import Held
from pymc_rbm.step_methods.metropolis import CLIMBING, MOST, tuned_caution
from pymc_rbm.step_methods.rungs import RungFunctions, check_swaps, rung_functions
from pymc_rbm.step_methods.swapping import Replicas, begun, lift
from pymc_rbm.step_methods.transition import compile_transition
from pymc_rbm.support.arguments import compile_arguments, generator, listed, one_of, shown, whole_number
from pymc_rbm.support.interrupts import whole

__all__ = ["BlockGibbs", "register"]

METHODS = "gibbs", "pt"
OF_LADDERS: dict = {
    "rungs": (np.int64, []),
    "least_acceptance": (np.float64, []),
    "round_trips": (np.int64, []),
    "renewals": (np.int64, []),
}
"""The names and types of the statistics that are recorded of chains that swap along ladders."""


@dataclass_state
class BlockGibbsState(StepMethodState):
    """The state of a chain besides PyMC's point: its random generator, and how cautious proposals are."""

    tune: bool
    tuned: int
    caution: np.ndarray
    replicas: list[Replicas] | None = None


class BlockGibbs(BlockedStep):
    """A step method of PyMC that samples RBM and Hidden variables by block Gibbs.

    One draw runs ``sweeps`` times

    1. all hidden units given the visible ones (inside the step; they need no variable of their own),
    2. all free visible units given the hidden ones,

    and last, once, draws the `Hidden` variables of the model from p(h | v). This leaves p(v), or p(v, h), or the
    conditional given what is observed, invariant. ``pm.sample`` picks the step by itself for these cases: v free, v
    masked (the observed entries are clamped), v observed and h free, h observed and v free (exact draws).

    *Dependants.* Terms of the model that depend on v or h (likelihoods, Potentials, free variables, other machines) are
    accounted for. Where the graph proves that their log-density is a sum over finite units, it shifts the fields and
    conditionals stay exact; that is checked in numbers at construction, too. Real units move by the Hessian of that
    log-density, together where it joins them: by an exact draw where it is constant and the units are Gaussian, by a
    path that is reflected at 0 where they cannot be negative. Finite blocks are otherwise proposed along the gradient
    and accepted by the Metropolis-Hastings ratio, in a machine that is coupled to itself one class of units after the
    other. Block and step sizes are tuned in ``tune`` draws. A Hidden variable with dependants
    is part of the state.

    *Several modes.* Plain block Gibbs does not leave them. With ``method="pt"`` each free or masked RBM variable swaps
    with chains on rungs between independent units, drawn exactly, and its conditional in the model, with dependants and
    random parameters as they are (`swapping` says why this leaves the model's law as it is). Rungs are placed before
    the first draw and in ``tune`` draws, and fixed afterwards.

    Parameters
    ----------
    vars : list of variables, optional
        RBM and Hidden variables. Default: all of the model's.
    sweeps : int, default 1
        Sweeps per stored draw; with ``method="pt"`` lifts, each of which sweeps every rung and swaps every pair.
        Through ``pm.sample``: ``pm.sample(block_gibbs={"sweeps": 10})``.
    method : {"gibbs", "pt"}, default "gibbs"
        Whether chains swap along a ladder. ``pm.sample(block_gibbs={"method": "pt"})``.
    model : Model, optional
    rng : Generator or seed, optional
    initial_point, compile_kwargs, blocked
        As in PyMC's steps. The variables are always updated together.

    Raises
    ------
    ValueError
        If ``vars`` are of another kind, or leave out the Hidden variable of an RBM, or other terms depend on a layer of
        several families of which some are real; with ``method="pt"``, if hidden units of a free RBM are observed or
        have dependants, or no RBM is free.

    Warns
    -----
    UserWarning
        If real units are joined by dependants without a Hessian (or with one that is too large to compute), or one
        acceptance serves ten rows or more.

    Notes
    -----
    Sampler statistics, per draw: ``free_energy`` of the visible state (mean over rows; summed over machines),
    ``flipped``, the share of sampled units that changed, ``visible_mean`` and ``hidden_mean``, the mean activations
    (the hidden one as probability given v), ``accepted``, the mean acceptance probability of proposals that change
    something (1 where all conditionals are exact), and ``sweeps``, the number of sweeps a draw, by which `diagnose`
    states autocorrelation in sweeps; ``blocks``, how many groups of units a sweep updates one after the other (two in a
    restricted machine, the colours or the units of a general one); ``rows_together``, how many rows one acceptance
    serves (1 where each row is judged by itself, or where all conditionals are exact); ``dependants``, how many terms
    of the model depend on units that are drawn: with some, draws are not those of the machine alone, and `diagnose`
    refuses them. With ``method="pt"`` also ``rungs``, ``least_acceptance`` of the pair of rungs that swaps least,
    ``round_trips`` of replicas between the independent units and the variable, and ``renewals``, how often the variable
    had become a new one from there, all of the draws so far, and of the variable and row with the least. Fewer than two
    renewals of a chain say that it remembers where it began.

    References
    ----------
    .. [1] Geman, S., Geman, D. (1984). Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of
       images. IEEE Transactions on Pattern Analysis and Machine Intelligence 6, 721-741.
    .. [2] Geyer, C. J. (1991). Markov chain Monte Carlo maximum likelihood. Computing Science and Statistics 23,
       156-163.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     v = pmr.RBM("v", np.zeros((4, 2)), np.zeros(4), np.zeros(2))
    ...     step = pmr.BlockGibbs([v], sweeps=5)
    ...     idata = pm.sample(10, tune=0, chains=1, step=step, random_seed=1, progressbar=False, quiet=True)
    >>> idata["posterior"]["v"].shape, int(idata["sample_stats"]["sweeps"][0, 0])
    ((1, 10, 4), 5)
    """

    name = "block_gibbs"
    stats_dtypes_shapes: dict = {  # noqa: RUF012  # PyMC's name; an instance may have more
        "free_energy": (np.float64, []),
        "flipped": (np.float64, []),
        "visible_mean": (np.float64, []),
        "hidden_mean": (np.float64, []),
        "sweeps": (np.int64, []),
        "accepted": (np.float64, []),
        "blocks": (np.int64, []),
        "rows_together": (np.int64, []),
        "dependants": (np.int64, []),
    }
    _state_class = BlockGibbsState

    def __init__(
        self,
        vars=None,
        *,
        sweeps: int = 1,
        method: str = "gibbs",
        model=None,
        rng=None,
        initial_point=None,
        compile_kwargs: dict | None = None,
        blocked: bool = True,
    ):
        if model is not None and not isinstance(model, pm.Model):
            raise TypeError(f"model must be a PyMC model, got {shown(model)}.")
        model, compile_kwargs = pm.modelcontext(model), compile_arguments(compile_kwargs)
        self.sweeps = whole_number("sweeps", sweeps)
        one_of("method", method, METHODS)
        generator(rng, "rng")
        self.rng = get_random_generator(rng)  # a copy
        if vars is None:
            vars = [rv for rv in model.free_RVs if visible_kind(rv) or is_hidden(rv)]
        vars = [vars] if isinstance(vars, Variable) else listed("vars", vars, "a list of the model's variables")
        odd = next((x for x in vars if not isinstance(x, Variable)), None)
        if odd is not None:
            raise TypeError(f"BlockGibbs samples variables of the model, got {shown(odd)} among vars: pass model['v'].")
        if not vars:
            raise ValueError(
                "BlockGibbs got no RBM and no Hidden variable that is free: all are observed, or there are none. Leave "
                "the step out, or add pymc_rbm.Hidden('h', v) to draw hidden units."
            )
        strange = [x for x in vars if x not in model.rvs_to_values and x not in model.values_to_rvs]
        if strange:
            raise ValueError(f"{strange} are not variables of this model, which are {list(model.named_vars)}.")
        self.vars = get_value_vars_from_user_vars(vars, model)
        rvs = [model.values_to_rvs[value] for value in self.vars]
        _check(model, rvs)
        Held(model).check({})
        machines = [machine_of_rv(rbm_of(rv)) for rv in rvs if not is_hidden(rv)]
        self.blocks = sum(machine.count_blocks(sizes_of(machine)) for machine in machines) or 1
        self.dependants = len(dependants_of_units(model))
        blocks = blocks_of(model, rvs)
        self._held = Held(model, [block.machine for block in blocks])
        swap = method == "pt"
        self._rungs = _rungs(model, blocks, compile_kwargs) if swap else []
        self._rounds = self.sweeps if swap else 1
        self._inputs, self._ranges, self.rows_together, self._function = compile_transition(
            model, rvs, 1 if swap else self.sweeps, compile_kwargs, blocks
        )
        if swap:
            self.stats_dtypes_shapes = {**self.stats_dtypes_shapes, **OF_LADDERS}
            self.stats_dtypes = [{name: dtype for name, (dtype, _) in self.stats_dtypes_shapes.items()}]
        self.tune, self._tuning_draws = True, 0  # calls of step by hand leave the posterior invariant from the first on
        self._forget()

    def setup_chain(self, rng, tune, draws):
        """Start a chain with its own generator and nothing tuned."""
        super().setup_chain(rng, tune, draws)
        self.tune, self._tuning_draws = tune > 0, tune
        self._forget()

    def _forget(self):
        self.caution, self.tuned = np.array([start for start, _ in self._ranges], dtype="float64"), 0
        self.replicas = None
        self._held.forget()

    def step(self, point):
        """Return the next point and the statistics."""
        n = len(self.vars)
        self._held.check(point)
        for _ in range(self._rounds):
            point = self._swapped(point)
            arguments = [point[name] for name in self._inputs]
            # Ctrl-C waits for the end of the call: PyMC then keeps the draws so far.
            self.rng, *outputs = whole(self._function, self.rng, self._caution(), *arguments)
            point = {**point, **{var.name: new for var, new in zip(self.vars, outputs, strict=False)}}
        stats = {name: float(x) for name, x in zip(self.stats_dtypes_shapes, outputs[n : n + 4], strict=False)}
        rates = [accepted / changed if changed else 1.0 for accepted, changed in outputs[n + 4 :]]
        if self.tune and rates:
            tuned = [
                tuned_caution(c, r, self.tuned, m)
                for c, r, (_, m) in zip(self.caution, rates, self._ranges, strict=True)
            ]
            self.caution, self.tuned = np.array(tuned), self.tuned + 1
        accepted = float(np.mean(rates)) if rates else 1.0
        constant = {key: getattr(self, key) for key in ("sweeps", "blocks", "rows_together", "dependants")}
        return point, [{**stats, **constant, "accepted": accepted, **self._figures()}]

    def _swapped(self, point):
        """Return the point after the variables have swapped along their ladders, which are made at the first call."""
        if self._rungs and self.replicas is None:
            self.replicas = []
            for rungs in self._rungs:
                self.rng, made = begun(rungs, self.rng, self.caution, point, self._tuning_draws * self.sweeps)
                self.replicas.append(made)
        for rungs, replicas in zip(self._rungs, self.replicas or [], strict=True):
            self.rng, value = lift(rungs, replicas, self.rng, self.caution, point)
            point = {**point, rungs.value: value}
        return point

    def _figures(self):
        """Return the statistics of ladders over variables: the most rungs, and the least of every other figure."""
        if not self.replicas:
            return {}
        found = [x.figures() for x in self.replicas]
        return {key: (max if key == "rungs" else min)(x[key] for x in found) for key in OF_LADDERS}

    def _caution(self):
        """Return θ of each corrected layer, negative while real units accept all moves that climb (`joint_moves`)."""
        if not (self.tune and self._ranges and self.tuned < CLIMBING and self._tuning_draws):
            return self.caution
        return np.array([-1.0 if m == MOST else c for c, (_, m) in zip(self.caution, self._ranges, strict=True)])

    @staticmethod
    def competence(var, has_grad=False):
        """Return IDEAL for RBM variables (free or masked) and Hidden variables, INCOMPATIBLE for all others."""
        if visible_kind(var) or is_hidden(var):
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


def _rungs(model, blocks, compile_kwargs) -> list[RungFunctions]:
    """Compile the rungs of each variable with visible units that are drawn."""
    found, start = [], 0
    for block in blocks:
        own = slice(start, start + len(block.proposals))
        start = own.stop
        if VISIBLE in block.rvs:
            check_swaps(block)
            found.append(rung_functions(model, block, own, compile_kwargs))
    if not found:
        raise ValueError(
            "method='pt' needs an RBM variable that this step draws, but among its variables here are "
            "none. Leave method out."
        )
    return found


def register() -> None:
    """Add BlockGibbs to the step methods that ``pm.sample`` chooses from, once."""
    if not any(method.name == BlockGibbs.name for method in STEP_METHODS):
        STEP_METHODS.append(BlockGibbs)


def _check(model, rvs) -> None:
    """Refuse variables that the transition cannot sample correctly."""
    for rv in rvs:
        if not is_hidden(rv) and not visible_kind(rv):
            raise ValueError(
                f"BlockGibbs samples RBM and Hidden variables, but {rv.name} is neither. Leave it out of vars."
            )
        children = [] if is_hidden(rv) else hidden_children(model, rv)
        left_out = [x.name for x in children if x in model.free_RVs and x not in rvs]
        if left_out:
            raise ValueError(
                f"{rv.name} and its hidden units must be updated together: add {left_out} to the vars of BlockGibbs."
            )
        given = [x for x in children if x in model.observed_RVs]
        if any(x.owner.inputs[2] is not rv for x in given) and visible_kind(rv) == "free":
            raise ValueError(
                f"{rv.name} stands for whole masked rows of a variable with observed hidden units, which BlockGibbs "
                "cannot sample. Mask single entries, or leave these rows out."
            )
