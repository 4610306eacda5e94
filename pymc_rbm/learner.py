"""The compiled update of learning and everything that it moves: parameters, particles, the optimiser's memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.centring import OFFSET_RATE, centred
from pymc_rbm.estimators import NegativePhase
from pymc_rbm.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.objective import Observed, direct_parameters, objective, parameter_variables, start_values

__all__ = ["Learner"]

MONITORED_ROWS = 100, 1000  # at least and at most; a fifth of the data in between, to cost little beside an epoch


class Learner:
    """One iteration of learning as one compiled function.

    Parameters live in shared variables in the model's unconstrained space, particles in shared variables of their own.
    An update first advances the particles under the current parameters, then moves the parameters.
    """

    def __init__(
        self,
        model: pm.Model,
        observed: list[Observed],
        chains: int,
        method: Callable,
        sweeps: int,
        optimizer: Callable,
        max_gradient_norm: float | None,
        centre: bool,
        start: dict[str, Any] | None,
        rng: np.random.Generator,
        compile_kwargs: dict,
    ):
        self.rng, self.observed, self._compile_kwargs = rng, observed, compile_kwargs
        values, points = model.continuous_value_vars, start_values(model, observed, start, rng)
        self._parameters = [pytensor.shared(points[v.name].astype(v.dtype), name=v.name) for v in values]
        self._given = dict(zip(values, self._parameters, strict=True))
        self._averages = [pytensor.shared(p.get_value(), name=f"{p.name}_average") for p in self._parameters]
        self._weight = pytensor.shared(np.asarray(1.0, dtype=pytensor.config.floatX), name="averaging_weight")
        self._rate = pytensor.shared(np.asarray(0.0, dtype=pytensor.config.floatX), name="learning_rate")
        self._machines = [x.machine.with_parameters(self._at_parameters(model, x.machine.parameters)) for x in observed]
        self._data = [pytensor.shared(x.rows, name=f"{x.name}_data") for x in observed]
        self._rows = [pt.lvector(f"{x.name}_rows") for x in observed]
        self._particles = [self._dispersed(x, chains) for x in observed]
        self._update = self._compile_update(model, method, sweeps, optimizer, max_gradient_norm, centre)
        self._pseudo = self._compile_pseudo_log_likelihood()
        variables = parameter_variables(model)
        self._names = [x.name for x in variables]
        values = self._at_parameters(model, variables)
        averages = graph_replace(values, dict(zip(self._parameters, self._averages, strict=True)), strict=False)
        self._values = pm.compile([], values, **compile_kwargs)
        self._averaged_values = pm.compile([], averages, **compile_kwargs)

    def update(self, rows: list[np.ndarray], rate: float, weight: float = 1.0) -> list[np.ndarray]:
        """Run one iteration on the given rows of each RBM's data.

        ``weight`` is the new iterate's in the running average of the iterates (1 starts the average afresh). Returns
        the rate and, for each RBM, the mean free energy of the batch and of each particle the free energy, the mean
        visible and the mean hidden activation, all under the parameters before the update.
        """
        self._rate.set_value(np.asarray(rate, dtype=self._rate.dtype))
        self._weight.set_value(np.asarray(weight, dtype=self._weight.dtype))
        self.rng, *monitors = self._update(self.rng, *rows)
        return [np.asarray(rate), *monitors]

    def pseudo_log_likelihood(self) -> list[float]:
        """Stochastic estimate per row, a total over units: one random unit of each of some random rows."""
        rows = [self.rng.permutation(len(x.rows))[: np.clip(len(x.rows) // 5, *MONITORED_ROWS)] for x in self.observed]
        units = [self.rng.integers(x.rows.shape[1], size=len(r)) for x, r in zip(self.observed, rows, strict=True)]
        return [float(x) for x in self._pseudo(*rows, *units)]

    def parameters(self) -> dict[str, np.ndarray]:
        """Free variables and their Deterministics, in the constrained space."""
        return dict(zip(self._names, self._values(), strict=True))

    def averaged_parameters(self) -> dict[str, np.ndarray]:
        """The same at the average of the iterates."""
        return dict(zip(self._names, self._averaged_values(), strict=True))

    @property
    def persistent(self) -> bool:
        """Whether the estimator has persistent chains."""
        return all(states in self._state for states in self._particles)

    def state(self) -> list[np.ndarray]:
        """All that an update changes, the generator apart: parameters, averages, particles, optimiser's memory."""
        return [np.asarray(x.get_value()) for x in self._state]

    def state_names(self) -> list[str]:
        """What the arrays of `state` are: the optimiser's memory has no names of its own."""
        return [x.name or f"memory {i}" for i, x in enumerate(self._state)]

    def restore(self, names: list[str], state: list[np.ndarray], rng: np.random.Generator) -> None:
        """Go on from a `state`, with its names, and its generator."""
        theirs = [(name, x.shape) for name, x in zip(names, state, strict=True)]
        ours = [(name, x.get_value(borrow=True).shape) for name, x in zip(self.state_names(), self._state, strict=True)]
        if theirs != ours:
            raise ValueError(
                f"`resume` is of another run: its state is {theirs}; this model and arguments need {ours}."
            )
        for shared, value in zip(self._state, state, strict=True):
            shared.set_value(value.astype(shared.dtype))
        self.rng = rng

    def particle_states(self) -> dict[str, np.ndarray]:
        """Visible states of the chains, by name of RBM."""
        return {x.name: states.get_value() for x, states in zip(self.observed, self._particles, strict=True)}

    def _at_parameters(self, model: pm.Model, variables: list[Any]) -> list[TensorVariable]:
        """Express variables of the model through the shared parameters."""
        graphs = model.replace_rvs_by_values([pt.as_tensor(x) for x in variables])
        return graph_replace(graphs, self._given, strict=False)

    def _dispersed(self, x: Observed, chains: int):
        """Shared start states of the chains."""
        rng = np.random.default_rng(self.rng.integers(2**31))
        size = (chains, x.rows.shape[1])
        _, states = x.machine.layers[VISIBLE].unit.dispersed(size, pt.random.shared_rng(rng))
        return pytensor.shared(pytensor.function([], states, mode="FAST_COMPILE")(), name=f"{x.name}_particles")

    def _compile_update(
        self,
        model: pm.Model,
        method: Callable,
        sweeps: int,
        optimizer: Callable,
        max_gradient_norm: float | None,
        centre: bool,
    ):
        rng = next_rng = pt.random.rng("rng")
        updates: dict[Any, TensorVariable] = {}
        monitors, phases = [], []
        batches = [data[rows] for data, rows in zip(self._data, self._rows, strict=True)]
        for machine, states, batch in zip(self._machines, self._particles, batches, strict=True):
            phase = method(machine, batch, states, next_rng, sweeps)
            next_rng = phase.rng
            phases.append(phase)
            if phase.states is not None:
                updates[states] = phase.states
            v = phase.particles
            monitors += [
                machine.free_energy(batch).mean(),
                machine.free_energy(v),
                v.mean(-1),
                machine.mean(HIDDEN, [v, None]).mean(-1),
            ]
        goal = objective(model, self.observed, self._machines, batches, [phase.log_z for phase in phases])
        goal = graph_replace(goal, self._given, strict=False)
        slopes = pt.grad(-goal, self._parameters, disconnected_inputs="ignore")
        gradients = dict(zip(self._parameters, slopes, strict=True))
        if centre:
            done: set[TensorVariable] = set()  # machines may share parameters: each is centred once
            for x, machine, batch, phase in zip(self.observed, self._machines, batches, phases, strict=True):
                own = direct_parameters(model, x)
                if None not in own and not done & set(own):
                    updates |= self._centre(model, x, own, machine, batch, phase, gradients)
                done |= {p for p in own if p is not None}
        # PyMC's optimisers return a partial when they are called without gradients: then they have their own rate.
        options = {} if isinstance(optimizer, functools.partial) else {"learning_rate": self._rate}
        steps = [gradients[p].astype(p.dtype) for p in self._parameters]
        if max_gradient_norm is not None:
            steps = pm.total_norm_constraint(steps, max_gradient_norm)
        updates |= optimizer(steps, self._parameters, **options)
        for p, average in zip(self._parameters, self._averages, strict=True):
            updates[average] = (average + self._weight * (updates[p] - average)).astype(p.dtype)
        self._state = list(updates)
        inputs, outputs = [In(rng, mutable=True), *self._rows], [Out(next_rng, borrow=True), *monitors]
        return pm.compile(inputs, outputs, updates=updates, **self._compile_kwargs)

    def _centre(self, model, x: Observed, own, machine: Machine, batch, phase: NegativePhase, gradients: dict) -> dict:
        """Centre the gradients of a machine's own W, b and c in place; return the updates of the offsets."""
        W, b, c = (self._given[model.rvs_to_values[p]] for p in own)
        mu = pytensor.shared(x.mean.astype(W.dtype), name=f"{x.name}_visible_offset")
        lam = pytensor.shared(np.full(c.get_value(borrow=True).shape, 0.5, W.dtype), name=f"{x.name}_hidden_offset")
        gradients[W], gradients[b], gradients[c] = centred(gradients[W], gradients[b], gradients[c], mu, lam)
        states = [batch, phase.particles]
        visible = sum(v.mean(0) for v in states) / 2
        hidden = sum(machine.mean(HIDDEN, [v, None]).mean(0) for v in states) / 2
        new = {mu: (1 - OFFSET_RATE) * mu + OFFSET_RATE * visible, lam: (1 - OFFSET_RATE) * lam + OFFSET_RATE * hidden}
        return {offset: value.astype(offset.dtype) for offset, value in new.items()}

    def _compile_pseudo_log_likelihood(self):
        units = [pt.lvector() for _ in self.observed]
        per_row = [
            data.shape[1] * machine.log_conditional(data[rows], unit).mean()
            for machine, data, rows, unit in zip(self._machines, self._data, self._rows, units, strict=True)
        ]
        return pm.compile([*self._rows, *units], per_row, **self._compile_kwargs)
