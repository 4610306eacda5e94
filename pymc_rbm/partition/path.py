"""A path of machines leads from a base of independent units to a machine with numbers for parameters.

With ``E_β = (1 - β)·E_base + β·E`` (`Machine.interpolate`), log Z is known at β = 0 and wanted at β = 1. States are
those of the layers that a sweep reads ("kept layers"), and ``F`` is their free energy, the others summed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.path_graphs import (
    base_function,
    dispersed_function,
    draws_function,
    energy_function,
    levels_function,
    means_function,
    step_function,
    walk_function,
)
from pymc_rbm.sampling.by_steps import by_steps
from pymc_rbm.support.generators import advance

__all__ = ["Path", "States"]

States = list[np.ndarray]


@dataclass(frozen=True)
class Path:
    """The path from a base, given by one array of biases a layer, to a machine with numbers for parameters.

    Where all biases have the shape (rows, size), each row of a state walks to a machine of its own.
    """

    machine: Machine
    base: tuple[np.ndarray, ...]

    @property
    def template(self) -> Machine:
        """The machine without its parameters: a key of compiled functions."""
        return self.machine.template

    @property
    def units(self) -> int:
        """The number of units in all layers."""
        return sum(np.shape(layer.bias)[-1] for layer in self.machine.layers)

    @property
    def rows(self) -> bool:
        """Whether each row has biases of its own."""
        return np.ndim(self.base[0]) == 2

    @property
    def dtype(self) -> str:
        """The floating type of the parameters, in which walks are computed."""
        return self.machine.dtype

    @property
    def arguments(self) -> list[np.ndarray]:
        """The base's biases and the machine's parameters, as compiled functions take them."""
        return [*(np.asarray(x, self.dtype) for x in self.base), *self.machine.parameters]

    @cached_property
    def log_z_base(self) -> Any:
        """The exact log Z of the base, ``Σ log_normaliser(bias)``: a number, or one a row."""
        return base_function(self.template, self.rows)(*self.arguments)[()]

    def base_states(self, rng: np.random.Generator, rows: int) -> States:
        """Draw independent states from the base, one array a kept layer."""
        next_rng, *states = draws_function(self.template, self.rows)(rng, rows, *self.arguments)
        return _advance(rng, next_rng, states)

    def dispersed_states(self, rng: np.random.Generator, rows: int) -> States:
        """Return dispersed states of the kept layers; in half of the rows they are drawn given the other layers.

        Either half alone can miss what the other finds: a thousand dispersed visible units fill few of the modes that
        a dozen hidden units span, and the other way round.
        """
        next_rng, *states = dispersed_function(self.template, self.rows)(rng, rows, *self.machine.parameters)
        return _advance(rng, next_rng, states)

    def energy(self, states: States) -> np.ndarray:
        """Return ``F`` of the machine at states of the kept layers."""
        return energy_function(self.template)(*states, *self.machine.parameters)

    def walk(
        self, rng: np.random.Generator, betas: np.ndarray, states: States, reverse: bool, total: int = 0
    ) -> tuple[States, np.ndarray]:
        """Walk along ``betas``; return states and the increments of log-weights, shape (len(betas) - 1, rows).

        Forward, each pair ``(β, β')`` adds ``F_β(x) - F_β'(x)`` and then sweeps at ``β'``; in reverse (``betas`` fall)
        it sweeps backwards at ``β`` and then adds the same difference. The walk is one of several, of ``total`` steps.
        """
        betas = betas.astype(self.dtype)
        if not by_steps(self.machine, max(total, len(betas))):
            walk = walk_function(self.template, self.rows, reverse, self.dtype)
            next_rng, increments, *states = walk(rng, betas, *states, *self.arguments)
            return _advance(rng, next_rng, states), increments
        step, arguments = step_function(self.template, self.rows, reverse, self.dtype), self.arguments
        increments, next_rng = np.empty((len(betas) - 1, len(states[0]))), rng
        for k in range(len(increments)):
            next_rng, increments[k], *states = step(next_rng, betas[k], betas[k + 1], *states, *arguments)
        return _advance(rng, next_rng, states), increments

    def sweep_levels(
        self, rng: np.random.Generator, betas: np.ndarray, states: States
    ) -> tuple[States, np.ndarray, np.ndarray]:
        """Sweep the states of each temperature once; states have the shape (level, row, size).

        Returns states and their ``F`` at the level below and at the one above, each less that at their own, (level,
        row); 0 where there is no other level.
        """
        below, above = np.r_[betas[0], betas[:-1]], np.r_[betas[1:], betas[-1]]
        levels = (x.astype(self.dtype) for x in (below, betas, above))
        sweep = levels_function(self.template, self.dtype)
        next_rng, down, up, *states = sweep(rng, *levels, *states, *self.arguments)
        return _advance(rng, next_rng, states), down, up

    def shrunk_means(self, rng: np.random.Generator, states: States) -> States:
        """Return the mean of each unit given the other layers over chains, the rows, after one more sweep.

        Each mean is shrunk to the mean without a field, by the share ``min(1, 4 se²/difference²)`` and as if by one
        more row: no mean is extreme, and noise of the chains, which is the same for all units where a machine has few
        modes, does not break a symmetry.
        """
        next_rng, *means = means_function(self.template)(rng, *states, *self.machine.parameters)
        return _advance(rng, next_rng, means)


def _advance(rng: np.random.Generator, next_rng: np.random.Generator, states: States) -> States:
    advance(rng, next_rng)
    return states
