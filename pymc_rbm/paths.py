"""The path from a base of independent units to a machine, and the compiled graphs that walk along it.

With ``E_β = (1 - β)·E_base + β·E`` (`Machine.interpolate`), log Z is known at β = 0 and wanted at β = 1. A sweep
begins with a block of layers that are independent given the rest, so these sum out, and everything here is a function
of the *rest*: ``F_β(rest) = -log Σ_first exp(-E_β)``, the free energy of the visible units in a restricted machine.
Weights of marginal states vary less than those of joint ones, at the same price (Salakhutdinov & Murray 2008).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.gibbs import sweep
from pymc_rbm.kernels.entry import is_binary_pair, walk_as_node
from pymc_rbm.machine import Machine, State

__all__ = ["Path", "kept_layers", "marginal_energy", "reverse_sweep", "walkable"]

States = list[np.ndarray]


def kept_layers(machine: Machine) -> list[int]:
    """The layers that a sweep reads: all but those of its first block, which it draws from the others.

    A layer that is coupled to itself is read wherever it stands.
    """
    first, *others = machine.blocks()
    return sorted([i for i in first if machine.own_coupling(i)] + [i for block in others for i in block])


def marginal_energy(machine: Machine, state: State) -> TensorVariable:
    """``F(rest) = -log Σ exp(-E)`` over the states of the layers that are not kept, one value a row.

    ``F(rest) = E_rest - Σ_i log_normaliser_i(field_i)`` over these layers ``i``, all of the first block of a sweep.
    """
    kept = kept_layers(machine)
    summed_out = [i for i in range(len(machine.layers)) if i not in kept]
    inner = Machine(
        tuple(machine.layers[i] for i in kept),
        tuple(
            replace(c, first=kept.index(c.first), second=kept.index(c.second))
            for c in machine.couplings
            if c.first in kept and c.second in kept
        ),
    )
    summed = sum(machine.layers[i].log_normaliser(machine.field(i, state)) for i in summed_out)
    return inner.energy([state[i] for i in kept]) - summed


def reverse_sweep(machine: Machine, state: State, rng: TensorVariable) -> tuple[list[TensorVariable], TensorVariable]:
    """The reversal of `sweep` as a kernel of the kept layers: those that it forgets, then the others backwards.

    A sweep draws the first block from the rest, updates the others in turn and forgets what is not kept. Each update
    is reversible with respect to p, so the product backwards is the reversal; in a restricted machine it is the sweep
    itself.
    """
    first, *others = machine.blocks()
    kept = kept_layers(machine)
    for block in [[i for i in first if i not in kept], *reversed(others), [i for i in first if i in kept]]:
        if block:
            held = [None if i in block else True for i in range(len(machine.layers))]
            state, rng = sweep(machine, state, rng, held, backwards=True)
    return list(state), rng


def walkable(machine: Machine) -> Machine:
    """The machine with arrays of the type in which it is walked: its own for two binary layers, otherwise float64.

    In float32 the free energies of a step are rounded, each unit's by about 10⁻⁷ of its field; sums are in float64.
    """
    return machine.numeric(machine.dtype if is_binary_pair(machine) else "float64")


@dataclass(frozen=True)
class Path:
    """A machine with numbers for parameters, and the biases of its base, one array a layer.

    Where the biases, all of them, are of shape (rows, size), each row of a state walks to a machine of its own.
    """

    machine: Machine
    base: tuple[np.ndarray, ...]

    @property
    def template(self) -> Machine:
        """The machine without its parameters: what graphs are compiled for, once a process."""
        return self.machine.template

    @property
    def units(self) -> int:
        """Number of units, all layers."""
        return sum(np.shape(layer.bias)[-1] for layer in self.machine.layers)

    @property
    def rows(self) -> bool:
        """Whether rows have biases of their own."""
        return np.ndim(self.base[0]) == 2

    @property
    def dtype(self) -> str:
        """The type of number that walks are made in, that of the parameters."""
        return self.machine.dtype

    @property
    def arguments(self) -> list[np.ndarray]:
        """Base biases and parameters, as the compiled functions take them."""
        return [*(np.asarray(x, self.dtype) for x in self.base), *self.machine.parameters]

    @cached_property
    def log_z_base(self) -> Any:
        """``Σ log_normaliser(bias)`` of the base: exact. A number, or one a row."""
        return _base_function(self.template, self.rows)(*self.arguments)[()]

    def base_states(self, rng: np.random.Generator, rows: int) -> States:
        """Independent draws from the base, one array a kept layer."""
        next_rng, *states = _draws_function(self.template, self.rows)(rng, rows, *self.arguments)
        return _advance(rng, next_rng, states)

    def dispersed_states(self, rng: np.random.Generator, rows: int) -> States:
        """Return dispersed states of the kept layers: half of the rows themselves, half drawn given a dispersed rest.

        Either alone can miss what the other finds: a thousand dispersed visible units fill few of the modes that a
        dozen hidden units span, and the other way round.
        """
        next_rng, *states = _dispersed_function(self.template, self.rows)(rng, rows, *self.machine.parameters)
        return _advance(rng, next_rng, states)

    def energy(self, states: States) -> np.ndarray:
        """``F`` of the target at the kept layers' states."""
        return _energy_function(self.template)(*states, *self.machine.parameters)

    def walk(
        self, rng: np.random.Generator, betas: np.ndarray, states: States, reverse: bool
    ) -> tuple[States, np.ndarray]:
        """Go along ``betas`` and return states and the increments of the log-weights, shape (len(betas) - 1, rows).

        Forward, each pair ``(β, β')`` adds ``F_β(x) - F_β'(x)`` and then sweeps at ``β'``; in reverse (``betas`` fall)
        it sweeps backwards at ``β`` and then adds the same difference.
        """
        walk = _walk_function(self.template, self.rows, reverse, self.dtype)
        next_rng, increments, *states = walk(rng, betas.astype(self.dtype), *states, *self.arguments)
        return _advance(rng, next_rng, states), increments

    def sweep_levels(
        self, rng: np.random.Generator, betas: np.ndarray, states: States
    ) -> tuple[States, np.ndarray, np.ndarray, np.ndarray]:
        """Sweep each level once; states are (level, row, size).

        Returns states and their ``F`` at the level below, at their own and at the one above, each (level, row).
        """
        below, above = np.r_[betas[0], betas[:-1]], np.r_[betas[1:], betas[-1]]
        next_rng, low, own, high, *states = _levels_function(self.template)(
            rng, below, betas, above, *states, *self.arguments
        )
        return _advance(rng, next_rng, states), low, own, high

    def shrunk_means(self, rng: np.random.Generator, states: States) -> States:
        """Mean of every layer's units given the others, after one more sweep of the target, over rows that are chains.

        Each is drawn to the mean without a field, by the share ``min(1, 4 se²/difference²)`` and as if by one more row:
        no mean is extreme, and what may be noise of the chains, the same for all units where a machine has a few modes,
        does not break a symmetry.
        """
        next_rng, *means = _means_function(self.template)(rng, *states, *self.machine.parameters)
        return _advance(rng, next_rng, means)


def _advance(rng: np.random.Generator, next_rng: np.random.Generator, states: States) -> States:
    if next_rng is not rng:  # the compiled function worked on a copy
        rng.bit_generator.state = next_rng.bit_generator.state
    return states


def _symbols(
    template: Machine, own_biases: bool = False, dtype: str = "float64"
) -> tuple[Machine, Machine, list[TensorVariable]]:
    """Symbolic target and base, and the inputs that they are made of."""
    machine, parameters = template.symbolic(own_biases, dtype)
    base = [layer.bias.type() for layer in machine.layers]
    return machine, machine.without_couplings(base), [*base, *parameters]


def _state_symbols(template: Machine, ndim: int) -> list[TensorVariable]:
    return [
        pt.tensor(dtype=template.layers[i].unit.dtype, shape=(None,) * ndim, name=f"state_{i}")
        for i in kept_layers(template)
    ]


def _whole(template: Machine, kept: Any) -> list[Any]:
    """A state with an entry a layer, None where a sweep draws before it reads."""
    state: list[Any] = [None] * len(template.layers)
    for i, x in zip(kept_layers(template), kept, strict=True):
        state[i] = x
    return state


def _compile(rng: Any, inputs: list[Any], next_rng: Any, outputs: list[Any]) -> Any:
    # Taken out of a loop, the machines of all temperatures would lie in memory side by side.
    mode = pytensor.compile.get_default_mode().excluding("scan_push_out_seq")
    return pytensor.function(
        [In(rng, mutable=True), *inputs], [Out(next_rng, borrow=True), *outputs], on_unused_input="ignore", mode=mode
    )


@lru_cache(maxsize=16)
def _base_function(template: Machine, own_biases: bool):
    _, base, inputs = _symbols(template, own_biases)
    return pytensor.function(inputs, sum(layer.log_z for layer in base.layers), on_unused_input="ignore")


@lru_cache(maxsize=16)
def _energy_function(template: Machine):
    machine, _, inputs = _symbols(template)
    states = _state_symbols(template, 2)
    energy = marginal_energy(machine, _whole(template, states))
    return pytensor.function([*states, *inputs[len(template.layers) :]], energy, on_unused_input="ignore")


@lru_cache(maxsize=16)
def _draws_function(template: Machine, own_biases: bool):
    _, base, inputs = _symbols(template, own_biases)
    rng, rows = pt.random.rng("rng"), pt.lscalar("rows")
    next_rng, states = rng, []
    for i in kept_layers(template):
        layer = base.layers[i]
        field = layer.unit.scaled(layer.bias)
        next_rng, x = layer.unit.sample(pt.broadcast_to(field, (rows, field.shape[-1])), next_rng)
        states.append(x)
    return _compile(rng, [rows, *inputs], next_rng, states)


@lru_cache(maxsize=16)
def _dispersed_function(template: Machine, own_biases: bool):
    machine, _, inputs = _symbols(template, own_biases)
    rng, rows = pt.random.rng("rng"), pt.lscalar("rows")
    next_rng, start = rng, []
    for layer in machine.layers:
        next_rng, x = layer.unit.dispersed((rows, layer.bias.shape[-1]), next_rng)
        start.append(x)
    kept = kept_layers(template)
    drawn, next_rng = sweep(machine, start, next_rng, [None if i in kept else True for i in range(len(start))])
    states = [pt.concatenate([start[i][: rows // 2], drawn[i][rows // 2 :]]) for i in kept_layers(template)]
    return _compile(rng, [rows, *inputs[len(template.layers) :]], next_rng, states)


@lru_cache(maxsize=16)
def _means_function(template: Machine):
    machine, _, inputs = _symbols(template)
    rng, states = pt.random.rng("rng"), _state_symbols(template, 2)
    state, next_rng = sweep(machine, _whole(template, states), rng)
    means, rows = [], states[0].shape[0] if states else 1
    for i, layer in enumerate(machine.layers):
        each, neutral = machine.mean(i, state), layer.unit.mean(pt.zeros_like(layer.bias))
        neutral = pt.switch(pt.isinf(neutral), each.mean(0), neutral)
        difference = each.mean(0) - neutral
        noise = 4 * each.var(0) / rows
        kept = 1 - noise / pt.maximum(difference**2, noise + 1e-300)
        means.append(neutral + kept * difference * rows / (rows + 1))
    return _compile(rng, [*states, *inputs[len(template.layers) :]], next_rng, means)


@lru_cache(maxsize=32)
def _walk_function(template: Machine, own_biases: bool, reverse: bool, dtype: str):
    machine, base, inputs = _symbols(template, own_biases, dtype)
    rng, betas, states = pt.random.rng("rng"), pt.vector("betas", dtype=dtype), _state_symbols(template, 2)
    arguments = (machine, [layer.bias for layer in base.layers], betas, states, rng, reverse)
    increments, new, next_rng = walk_as_node(_walk, *arguments) if is_binary_pair(machine) else _walk(*arguments)
    return _compile(rng, [betas, *states, *inputs], next_rng, [increments, *new])


def _walk(machine: Machine, base: Any, betas: Any, states: Any, rng: Any, reverse: bool) -> tuple[Any, list[Any], Any]:
    """What `Path.walk` says, as a graph: increments, states, rng."""
    kept, n = kept_layers(machine), len(machine.layers)

    def step(beta, next_beta, *args):
        old, rng, parameters = _whole(machine, args[: len(kept)]), args[len(kept)], args[len(kept) + 1 :]
        inner = machine.with_parameters(parameters[n:])
        inner_base = inner.without_couplings(parameters[:n])
        here, there = inner.interpolate(inner_base, beta), inner.interpolate(inner_base, next_beta)
        if reverse:
            new, rng = reverse_sweep(here, old, rng)
            increment = marginal_energy(here, new) - marginal_energy(there, new)
        else:
            increment = marginal_energy(here, old) - marginal_energy(there, old)
            new, rng = sweep(there, old, rng)
        return *(new[i] for i in kept), rng, increment.astype("float64")

    *traces, next_rng, increments = pytensor.scan(
        step,
        sequences=[betas[:-1], betas[1:]],
        outputs_info=[*states, rng, None],
        non_sequences=[*base, *map(pt.as_tensor, machine.parameters)],
        return_updates=False,
    )
    return increments, [x[-1] for x in traces], next_rng


@lru_cache(maxsize=16)
def _levels_function(template: Machine):
    machine, _, inputs = _symbols(template)
    rng, betas = pt.random.rng("rng"), [pt.dvector() for _ in range(3)]
    states, n = _state_symbols(template, 3), len(template.layers)
    kept = kept_layers(template)

    def step(*args):
        levels, old, rng = args[:3], _whole(template, args[3 : 3 + len(kept)]), args[3 + len(kept)]
        parameters = args[4 + len(kept) :]
        inner = machine.with_parameters(parameters[n:])
        inner_base = inner.without_couplings(parameters[:n])
        low, own, high = (inner.interpolate(inner_base, beta) for beta in levels)
        new, rng = sweep(own, old, rng)
        return rng, *(marginal_energy(m, new) for m in (low, own, high)), *(new[i] for i in kept)

    next_rng, *outputs = pytensor.scan(
        step,
        sequences=[*betas, *states],
        outputs_info=[rng, *[None] * (3 + len(kept))],
        non_sequences=inputs,
        return_updates=False,
    )
    return _compile(rng, [*betas, *states, *inputs], next_rng, outputs)
