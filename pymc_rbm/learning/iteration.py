"""One iteration of learning on one page: batch, negative phase, gradient, optimiser, record.

`iteration` writes it down for all RBMs of a model, as a graph. `update.Learner` compiles that graph, and `loop.Run`
runs it over batches in random order, many iterations in one call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.estimators.pcd import NegativePhase
from pymc_rbm.learning.gradients import descent
from pymc_rbm.learning.objective import objective
from pymc_rbm.learning.stiffness import StiffDirections
from pymc_rbm.learning.trajectory import EVERY
from pymc_rbm.learning.trust import within
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.observables import names_of, symbolic_functionals
from pymc_rbm.sampling.sweep import sweeps as run_sweeps

__all__ = ["Iteration", "LastSwap", "Part", "Settings", "iteration"]


@dataclass(frozen=True)
class Settings:
    """How to learn: the arguments of `fit` that shape the compiled update."""

    method: Callable[..., NegativePhase]
    chains: int
    sweeps: int | None
    """The sweeps of an update; None if their number may change while learning."""
    optimizer: Callable | None
    """The optimiser; with None updates advance only the particles, and something else moves the parameters."""
    max_gradient_norm: float | None
    centred: bool
    compile_kwargs: dict


@dataclass(frozen=True)
class Part:
    """What an iteration needs of one RBM."""

    observed: Observed
    machine: Machine
    """The machine at the shared parameters; where biases differ by row, it has the biases of the batch's rows."""
    data: Any
    """A shared variable of all rows, in which missing entries have their present imputed values."""
    rows: TensorVariable
    """Indices of the batch's rows."""
    particles: Any
    """A shared variable: the visible states of the persistent chains, or one chain a row."""


@dataclass(frozen=True)
class LastSwap:
    """The parameters at the particles' last swap, and the factor of every step; all are shared variables."""

    parameters: list[Any]
    factor: Any

    @property
    def everything(self) -> list[Any]:
        """All shared variables of the last swap."""
        return [*self.parameters, self.factor]


@dataclass
class Iteration:
    """A graph of one iteration: new values of shared variables, what is recorded, and the generator afterwards."""

    rng: Any
    updates: dict[Any, TensorVariable] = field(default_factory=dict)
    monitors: dict[str, TensorVariable] = field(default_factory=dict)
    starts: dict[Any, Callable] = field(default_factory=dict)
    """The start values of the estimator's shared variables, as in `NegativePhase.starts`."""
    memory: list[Any] = field(default_factory=list)
    """The optimiser's own shared variables."""
    ladder: bool = False
    """Whether the particles swap along ladders between updates, as `NegativePhase.ladder`."""
    births: list[Any] = field(default_factory=list)
    """`NegativePhase.births` of each part."""
    kept: list[Any] = field(default_factory=list)
    """Shared variables that the iteration reads and that change between swaps."""
    stiff: StiffDirections | None = None
    """The directions in which steps are shortened; to follow the ways between swaps."""


def iteration(
    model: pm.Model,
    parts: list[Part],
    given: dict[Any, Any],
    settings: Settings,
    rate: TensorVariable,
    sweeps: Any,
    rng: Any,
    last_swap: Callable[[], LastSwap],
) -> Iteration:
    """Write down one iteration of learning; ``given`` maps the model's value variables to the shared parameters.

    ``last_swap`` is asked for where particles swap along ladders.

    The parameters θ climb ``mean_batch(-F(v)) - log Z + log prior / N`` (`objective`). The derivative of -log Z is
    estimated from particles, the negative phase; all the rest is differentiated as it stands, the positive phase.
    """
    step, batches, phases = Iteration(rng), [], []
    for part in parts:
        batch, weights = _batch(part, sweeps, step)
        phase = settings.method(part.machine, _base(part), batch, _chains(part), step.rng, sweeps)
        step.rng = phase.rng
        step.starts |= phase.starts
        step.updates |= phase.updates | _advanced(part, phase)
        step.monitors |= _recorded(part, batch, weights, phase)
        batches.append((batch, weights))
        phases.append(phase)

    parameters = list(given.values())
    step.updates |= {p: p for p in parameters}
    if settings.optimizer is None:
        return step
    observed, machines = [part.observed for part in parts], [part.machine for part in parts]
    energies = [(machine.free_energy(x), weights) for machine, (x, weights) in zip(machines, batches, strict=True)]
    goal = objective(model, observed, energies, [phase.log_z for phase in phases])
    goal = graph_replace(goal, given, strict=False)
    seen = list(zip(observed, machines, batches, phases, strict=True))
    gradients, offsets = descent(model, goal, given, seen, settings.centred)
    step.updates |= offsets
    if settings.max_gradient_norm is not None:
        gradients = pm.total_norm_constraint(gradients, settings.max_gradient_norm)
    # PyMC's optimisers return a partial when they are called without gradients: then they have their own rate.
    options = {} if isinstance(settings.optimizer, functools.partial) else {"learning_rate": rate}
    moves = settings.optimizer(gradients, parameters, **options)
    step.memory = [x for x in moves if x not in parameters]
    step.updates |= moves
    step.ladder, step.births = any(phase.ladder for phase in phases), [phase.births for phase in phases]
    if step.ladder:
        if settings.optimizer is pm.sgd:
            step.stiff = StiffDirections(parameters, EVERY)
            step.updates |= step.stiff.damped(step.updates, rate)
        last, moved = last_swap(), [(m, phase.particles) for m, phase in zip(machines, phases, strict=True)]
        limited, share = within(moved, step.updates, parameters, last.parameters, last.factor)
        step.updates |= limited
        step.kept = [*last.everything, *(step.stiff.kept if step.stiff is not None else [])]
        step.monitors["step_share"] = share
    return step


def _batch(part: Part, sweeps: Any, step: Iteration) -> tuple[TensorVariable, TensorVariable]:
    """Return rows and weights of a batch, with missing entries drawn anew given the rest, by clamped Gibbs."""
    x, batch = part.observed, part.data[part.rows]
    uniform = (x.weights == 1).all()
    weights = pt.ones(1) if uniform else pytensor.shared(x.weights.astype(pytensor.config.floatX))[part.rows]
    if x.missing is not None:
        known = part.machine.at(pytensor.shared(~x.missing)[part.rows])
        (batch, *_), step.rng = run_sweeps(part.machine, part.machine.at(batch), step.rng, sweeps, clamped=known)
        batch = disconnected_grad(batch)  # the derivative of the log-likelihood is E[-∂E | data]: rows are constant
        step.updates[part.data] = part.data[part.rows].set(batch)
    return batch, weights


def _base(part: Part) -> Machine:
    """Return the machine of independent units with the data's means."""
    biases = [0.0 * layer.bias for layer in part.machine.layers]
    biases[VISIBLE] = part.observed.bias.astype(pytensor.config.floatX)
    return part.machine.without_couplings(biases)


def _chains(part: Part) -> Any:
    """Return the chains that the estimator advances: all of them, or those of the batch's rows."""
    return part.particles[part.rows] if part.observed.by_row else part.particles


def _advanced(part: Part, phase: NegativePhase) -> dict[Any, TensorVariable]:
    if phase.states is None:
        return {}
    new = part.particles[part.rows].set(phase.states) if part.observed.by_row else phase.states
    return {part.particles: new}


def _recorded(part: Part, batch: Any, weights: Any, phase: NegativePhase) -> dict[str, TensorVariable]:
    """Return what each iteration records: free energies, other functionals of particles, the estimator's report."""
    name, values = part.observed.name, symbolic_functionals(part.machine, phase.particles)
    found = {f"{name}_free_energy_data": (weights * part.machine.free_energy(batch)).mean()}
    found |= {f"{name}_{key}": value for key, value in zip(names_of(part.machine), values, strict=True)}
    return found | {f"{name}_{key}": pt.as_tensor(value) for key, value in phase.report.items()}
