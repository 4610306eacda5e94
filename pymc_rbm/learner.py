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

from pymc_rbm.gibbs import sweeps as run_sweeps
from pymc_rbm.machine import HIDDEN, VISIBLE
from pymc_rbm.objective import Observed, objective, parameter_variables, start_values

__all__ = ["Learner"]

MONITORED_ROWS = 1000


class Learner:
    """Persistent contrastive divergence as one compiled function, called once an iteration.

    Parameters live in shared variables in the model's unconstrained space, particles in shared variables of their own.
    An update first advances the particles under the current parameters, then moves the parameters.
    """

    def __init__(
        self,
        model: pm.Model,
        observed: list[Observed],
        chains: int,
        sweeps: int,
        optimizer: Callable,
        start: dict[str, Any] | None,
        rng: np.random.Generator,
        compile_kwargs: dict,
    ):
        self.rng, self.observed, self._compile_kwargs = rng, observed, compile_kwargs
        values, points = model.continuous_value_vars, start_values(model, observed, start, rng)
        self._parameters = [pytensor.shared(points[v.name].astype(v.dtype), name=v.name) for v in values]
        self._given = dict(zip(values, self._parameters, strict=True))
        self._rate = pytensor.shared(np.asarray(0.0, dtype=pytensor.config.floatX), name="learning_rate")
        self._machines = [x.machine.with_parameters(self._at_parameters(model, x.machine.parameters)) for x in observed]
        self._data = [pytensor.shared(x.rows, name=f"{x.name}_data") for x in observed]
        self._rows = [pt.lvector(f"{x.name}_rows") for x in observed]
        self._particles = [self._dispersed(x, chains) for x in observed]
        self._update = self._compile_update(model, sweeps, optimizer)
        self._pseudo = self._compile_pseudo_log_likelihood()
        variables = parameter_variables(model)
        self._names = [x.name for x in variables]
        self._values = pm.compile([], self._at_parameters(model, variables), **compile_kwargs)

    def update(self, rows: list[np.ndarray], rate: float) -> list[np.ndarray]:
        """Run one iteration on the given rows of each RBM's data.

        Returns the rate and, for each RBM, the mean free energy of the batch and of each particle the free energy, the
        mean visible and the mean hidden activation, all under the parameters before the update.
        """
        self._rate.set_value(np.asarray(rate, dtype=self._rate.dtype))
        self.rng, *monitors = self._update(self.rng, *rows)
        return [np.asarray(rate), *monitors]

    def pseudo_log_likelihood(self) -> list[float]:
        """Stochastic estimate per row, a total over units: one random unit of each of up to 1,000 random rows."""
        rows = [self.rng.permutation(len(x.rows))[:MONITORED_ROWS] for x in self.observed]
        units = [self.rng.integers(x.rows.shape[1], size=len(r)) for x, r in zip(self.observed, rows, strict=True)]
        return [float(x) for x in self._pseudo(*rows, *units)]

    def parameters(self) -> dict[str, np.ndarray]:
        """Free variables and their Deterministics, in the constrained space."""
        return dict(zip(self._names, self._values(), strict=True))

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

    def _compile_update(self, model: pm.Model, sweeps: int, optimizer: Callable):
        rng = next_rng = pt.random.rng("rng")
        updates: dict[Any, TensorVariable] = {}
        monitors, batches = [], [data[rows] for data, rows in zip(self._data, self._rows, strict=True)]
        for machine, states, batch in zip(self._machines, self._particles, batches, strict=True):
            (v, _), next_rng = run_sweeps(machine, [states, None], next_rng, sweeps)
            updates[states] = v
            monitors += [
                machine.free_energy(batch).mean(),
                machine.free_energy(v),
                v.mean(-1),
                machine.mean(HIDDEN, [v, None]).mean(-1),
            ]
        particles = list(updates.values())
        goal = graph_replace(objective(model, self.observed, batches, particles), self._given, strict=False)
        gradients = pt.grad(-goal, self._parameters, consider_constant=particles, disconnected_inputs="ignore")
        gradients = [g.astype(p.dtype) for g, p in zip(gradients, self._parameters, strict=True)]
        # PyMC's optimisers return a partial when they are called without gradients: then they have their own rate.
        options = {} if isinstance(optimizer, functools.partial) else {"learning_rate": self._rate}
        updates |= optimizer(gradients, self._parameters, **options)
        inputs, outputs = [In(rng, mutable=True), *self._rows], [Out(next_rng, borrow=True), *monitors]
        return pm.compile(inputs, outputs, updates=updates, **self._compile_kwargs)

    def _compile_pseudo_log_likelihood(self):
        units = [pt.lvector() for _ in self.observed]
        per_row = [
            data.shape[1] * machine.log_conditional(data[rows], unit).mean()
            for machine, data, rows, unit in zip(self._machines, self._data, self._rows, units, strict=True)
        ]
        return pm.compile([*self._rows, *units], per_row, **self._compile_kwargs)
