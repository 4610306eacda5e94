"""A ladder leads from independent units to one machine, with chains on every rung that swap with neighbours.

Rung 0 is drawn exactly. The others are swept, and neighbours s < t swap their states x_s and x_t with probability

    min(1, exp(F_s(x_s) + F_t(x_t) - F_s(x_t) - F_t(x_s))),

which leaves the product of all densities invariant (Geyer 1991). A *lift* goes up from the bottom: rung by rung it
sweeps and then swaps with the rung below, so that what the bottom draws is carried up as far as swaps accept it. The
rungs may be any machines of one form: those at rising inverse temperatures, or those that learning came through
(parallel trajectory tempering, Béreux, Decelle, Furtlehner & Seoane 2025, ICLR). A replica takes about twice
the sum of the inverse acceptances of all pairs, in lifts, to go up and come back (Syed et al. 2022, JRSS B 84): where
neighbours overlap, a machine whose own sweeps never leave a mode is still drawn from in the right proportions.

*Clamped units.* Where some visible units are held at known values, states have the shape (chains, rows, visible): the
free units of each row are a machine of their own, in which what the known ones send is a part of the biases, and so
each row has a ladder of its own, of the same parameters. Its swaps are judged by themselves. The known units' own
energies cancel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.bottom import source_of
from pymc_rbm.sampling.dispersal import dispersed_states
from pymc_rbm.sampling.rung_moves import form_of, free_energy, pair_function, swept
from pymc_rbm.support.generators import advance

__all__ = [
    "FROM_BOTTOM",
    "FROM_TOP",
    "LEAST_RENEWALS",
    "MOST_RUNGS",
    "SETTLE",
    "STEP",
    "TORN",
    "Energies",
    "Ladder",
    "Rung",
    "acceptance",
    "between",
    "bottom",
    "independent",
    "ladder_from",
    "ladder_to",
    "recorded_ladder",
    "uncoupled",
    "with_prefix",
]

LEAST, WEAK, TORN = 0.3, 0.2, 0.1
"""Limits for the acceptance of swaps. Below the first, a moving top leaves a rung behind; below the second, a new rung
is put half-way between two neighbours; below the third, the ladder counts as torn."""
STEP = 1.2
"""`Ladder.reach` aims at this deviation of the energy difference of neighbours, an acceptance of erfc(STEP/2) = .4."""
LEAST_RENEWALS = 2
"""Weights of modes are trusted if all chains at the top have become new ones from the bottom at least this often."""
SETTLE = 20
"""The number of sweeps of each new rung in `Ladder.reach`, and of lifts after the last one."""
HALVINGS = 12
MEMORY = 0.05
"""The weight of a new swap in the moving average of a pair's acceptance."""
MOST_RUNGS = 200
STARTS = 100
"""The number of chains that find the visible means."""
OF_RUNGS = "states", "born", "seen", "acceptance"
FROM_TOP, FROM_BOTTOM = 1, 2


@dataclass
class Rung:
    """A machine with numbers and chains of it.

    Attributes
    ----------
    machine : Machine
    states : ndarray, shape (chains, visible), or (chains, rows, visible) with ``held``
    born : ndarray of int, shape (chains,) or (chains, rows)
        The generation in which each state's replica was last drawn at the bottom; 0 if it never was.
    seen : ndarray of int8, shape (chains,) or (chains, rows)
        The end of the ladder that the replica was at last; 0 if it was at none.
    acceptance : float, or ndarray of shape (rows,)
        Of swaps with the rung below, a moving average; 1 of the bottom.
    held : ndarray of bool, shape (rows, visible), optional
        The units that keep their values.
    """

    machine: Machine
    states: np.ndarray
    born: np.ndarray
    seen: np.ndarray
    acceptance: Any = 1.0
    held: np.ndarray | None = None
    _known: tuple[Any, ...] = (None,)
    _energies: tuple[Any, ...] = (None, None, None)
    _source: tuple[Any, ...] = (None,)

    @property
    def known(self) -> tuple[Any, ...]:
        """The machine, the form that its functions are compiled for, and its parameters, found once for many swaps."""
        if self._known[0] is not self.machine:
            self._known = self.machine, form_of(self.machine, self.held is not None), self.machine.parameters
        return self._known

    @property
    def energies(self) -> np.ndarray:
        """The free energies of the states; those that `keep` was told are not computed again."""
        machine, states, _ = self._energies
        if machine is not self.machine or states is not self.states:
            self.keep(free_energy(self.machine, self.states))
        return self._energies[2]

    def redraw(self, rng: np.random.Generator) -> None:
        """Draw all states anew, exactly: of a machine without weights, or with those of few hidden units."""
        if self._source[0] is not self.machine:
            self._source = self.machine, source_of(self.machine) if self.held is None else None
        draw = self._source[1]
        self.states = (
            swept(self.machine, self.states, rng, held=self.held) if draw is None else draw(rng, len(self.states))
        )

    def keep(self, energies: np.ndarray) -> None:
        """Be told the free energies of the states, which are not to change in place any more."""
        self._energies = self.machine, self.states, energies

    @classmethod
    def new(cls, machine: Machine, states: np.ndarray, acceptance: Any = 1.0, held: np.ndarray | None = None) -> Rung:
        """Return a rung of chains that never were at the bottom."""
        shape = states.shape[:-1]
        return cls(machine, states, np.zeros(shape, "int64"), np.zeros(shape, "int8"), acceptance, held)

    def copy(self) -> Rung:
        """Return a copy of the rung that shares no arrays with it."""
        return replace(self, states=self.states.copy(), born=self.born.copy(), seen=self.seen.copy())


@dataclass
class Energies:
    """Free energies of the states x of a rung and y of the one above, each under both machines, as a swap needs them.

    All have the shape (chains,) or (chains, rows).
    """

    low_at_x: np.ndarray
    low_at_y: np.ndarray
    high_at_x: np.ndarray
    high_at_y: np.ndarray

    @classmethod
    def of(cls, low: Rung, high: Rung) -> Energies:
        """Return those of the states of this moment."""
        return cls(
            low.energies, free_energy(low.machine, high.states), free_energy(high.machine, low.states), high.energies
        )

    @property
    def steps(self) -> list[np.ndarray]:
        """``F_upper - F_lower`` at x and at y, in float64."""
        pairs = (self.high_at_x, self.low_at_x), (self.high_at_y, self.low_at_y)
        return [(u - v).astype("float64") for u, v in pairs]

    @cached_property
    def acceptances(self) -> np.ndarray:
        """The probability of each swap."""
        at_x, at_y = self.steps
        return np.exp(np.minimum(at_y - at_x, 0))


@dataclass
class Ladder:
    """Rungs from the bottom to the top.

    Attributes
    ----------
    rungs : list of Rung
    generation : int, or ndarray of int, shape (rows,)
        How often all replicas at the top had been drawn at the bottom since the last time, plus one.
    trips : ndarray of int, shape (chains,) or (chains, rows)
        How often replicas came to the top from the bottom, and back to the bottom.
    turn : int
        The rung that the next lift begins with.
    """

    rungs: list[Rung]
    generation: Any = 1
    trips: np.ndarray = field(default_factory=lambda: np.zeros(0, "int64"))
    turn: int = 1

    def __post_init__(self):
        if not len(self.trips):
            self.trips = np.zeros(self.rungs[0].born.shape, "int64")

    @property
    def top(self) -> Rung:
        """The last rung."""
        return self.rungs[-1]

    @property
    def acceptances(self) -> np.ndarray:
        """The swap acceptance of each pair of neighbours, from the bottom; where rows swap by themselves, the least."""
        return np.array([np.min(rung.acceptance) for rung in self.rungs[1:]])

    @property
    def renewals(self) -> Any:
        """How often all states at the top, of each row, had become new ones from the bottom."""
        return self.generation - 1 if np.ndim(self.generation) else int(self.generation) - 1

    def lift(self, rng: np.random.Generator, sweeps: int = 1) -> list[list[np.ndarray]]:
        """Sweep and swap from the bottom to the top.

        Returns, for each pair, ``F_upper - F_lower`` at the states of the lower rung and at those of the upper one,
        before the swap: two arrays of shape (chains,).
        """
        self.turn = 1
        return [self._pair(k, rng, sweeps) for k in range(1, len(self.rungs))]

    def lift_lower(self, rng: np.random.Generator, sweeps: int, most: int) -> None:
        """Sweep and swap ``most`` rungs from where the last lift ended, but not the top, and begin again below it."""
        for _ in range(min(most, len(self.rungs) - 2)):
            self.turn = self.turn if self.turn < len(self.rungs) - 1 else 1
            self._pair(self.turn, rng, sweeps)
            self.turn += 1

    def swap_top(self, rng: np.random.Generator, energies: Energies | None = None) -> None:
        """Swap the top, as it is, and the rung below; ``energies`` are those of these two if they are known."""
        k = len(self.rungs) - 1
        self._swap(k, rng, self.energies_of_top(rng) if energies is None else energies)

    def energies_of_top(self, rng: np.random.Generator) -> Energies:
        """Return the `Energies` of the top and the rung below, which is drawn anew if it is the bottom."""
        if len(self.rungs) == 2:
            self._draw_bottom(rng)
        return Energies.of(*self.rungs[-2:])

    def _draw_bottom(self, rng: np.random.Generator) -> None:
        bottom = self.rungs[0]
        bottom.redraw(rng)
        bottom.born[:] = self.generation
        self.trips += bottom.seen == FROM_TOP
        bottom.seen[:] = FROM_BOTTOM

    def _pair(self, k: int, rng: np.random.Generator, sweeps: int) -> list[np.ndarray]:
        low, high = self.rungs[k - 1], self.rungs[k]
        if k == 1:
            self._draw_bottom(rng)
        held = [] if high.held is None else [high.held]
        (_, _, below), (_, form, above) = low.known, high.known
        low_at_x = low.energies
        arguments = low.states, high.states, np.asarray(sweeps), *held, *below, *above
        next_rng, high.states, high_at_x, high_at_y, low_at_y = pair_function(*form)(rng, *arguments)
        advance(rng, next_rng)
        return self._swap(k, rng, Energies(low_at_x, low_at_y, high_at_x, high_at_y))

    def _swap(self, k: int, rng: np.random.Generator, energies: Energies) -> list[np.ndarray]:
        low, high = self.rungs[k - 1], self.rungs[k]
        high.acceptance = high.acceptance + MEMORY * (energies.acceptances.mean(0) - high.acceptance)
        swap = rng.random(energies.acceptances.shape) < energies.acceptances
        for name in ("states", "born", "seen"):
            lower, upper = getattr(low, name), getattr(high, name)
            moved = swap if lower.ndim == swap.ndim else swap[..., None]
            setattr(low, name, np.where(moved, upper, lower))
            setattr(high, name, np.where(moved, lower, upper))
        low.keep(np.where(swap, energies.low_at_y, energies.low_at_x))
        high.keep(np.where(swap, energies.high_at_x, energies.high_at_y))
        if high is self.top:
            high.seen[high.seen == FROM_BOTTOM] = FROM_TOP
            self.generation = self.generation + (high.born.min(0) >= self.generation)
        return energies.steps

    def settle_acceptances(self) -> None:
        """Measure the acceptance of each pair at the states of this moment."""
        for low, high in zip(self.rungs, self.rungs[1:], strict=False):
            high.acceptance = acceptance(low, high)

    def reach(self, machine: Machine, rng: np.random.Generator) -> None:
        """Add rungs on the straight way from the top's parameters to those of ``machine``, which becomes the top.

        Each is so far from the one before that energies differ by a deviation of `STEP`; its chains start where those
        of the one before are, and sweep. A way of more than `MOST_RUNGS` ends with one long step.
        """
        t, start = 0.0, self.top.machine
        while t < 1:
            t, rung = self._next(start, machine, t, rng, direct=len(self.rungs) >= MOST_RUNGS)
            self.rungs.append(rung)
        self.settle_acceptances()

    def _next(
        self, start: Machine, end: Machine, t: float, rng: np.random.Generator, direct: bool
    ) -> tuple[float, Rung]:
        """Return a rung that is one step beyond the top, which is at ``t`` of the way, and where it is."""
        states, held, here = self.top.states, self.top.held, self.top.energies

        def at(s: float) -> Machine:
            return end if s == 1 else between(start, end, s)

        def far(s: float) -> bool:
            return not np.max((free_energy(at(s), states) - here).std(0)) <= STEP  # NaN is far

        low, high = t, 1.0
        for _ in range(HALVINGS if not direct and far(1.0) else 0):
            middle = (low + high) / 2
            low, high = (low, middle) if far(middle) else (middle, high)
        s = high if low == t else low
        for _ in range(HALVINGS):
            rung = self.top.copy()
            rung.machine, rung.states = at(s), swept(at(s), states, rng, SETTLE, held)
            if direct or np.min(acceptance(self.top, rung)) >= LEAST:
                break
            s = (t + s) / 2
        return s, rung

    def mend(self, rng: np.random.Generator, moving: bool = False) -> bool:
        """Put a rung half-way between the neighbours that swap least, if that is too little; return whether it did.

        Every second of its chains starts at the lower, the others at the upper neighbour. With a ``moving`` top, which
        sees to the last pair itself, that one is left alone.
        """
        among = self.acceptances[: len(self.rungs) - 1 - moving]
        k = int(np.argmin(among)) if len(among) else 0
        if not len(among) or among[k] >= WEAK or len(self.rungs) >= MOST_RUNGS:
            return False
        low, high = self.rungs[k : k + 2]
        middle = low.copy()
        middle.machine = between(low.machine, high.machine, 0.5)
        for name in ("states", "born", "seen"):
            getattr(middle, name)[::2] = getattr(high, name)[::2]
        middle.states = swept(middle.machine, middle.states, rng, SETTLE, middle.held)
        self.rungs.insert(k + 1, middle)
        middle.acceptance, high.acceptance = acceptance(low, middle), acceptance(middle, high)
        return True

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything as arrays by name, those of rungs with an axis of rungs first."""
        parameters = zip(*(rung.machine.parameters for rung in self.rungs), strict=True)
        found = {f"parameter_{i}": np.stack(x) for i, x in enumerate(parameters)}
        found |= {key: np.array([getattr(rung, key) for rung in self.rungs]) for key in OF_RUNGS}
        return found | {"trips": self.trips.copy(), "counts": np.array([self.generation, self.turn])}

    @classmethod
    def of(cls, form: Machine, arrays: Mapping[str, Any]) -> Ladder:
        """Return the ladder that these `arrays` describe, with machines of the same form as ``form``."""
        parameters = [np.asarray(arrays[f"parameter_{i}"]) for i in range(len(form.parameters))]
        machines = [form.with_parameters([np.array(x) for x in flat]) for flat in zip(*parameters, strict=True)]
        own = zip(*(np.asarray(arrays[key]) for key in OF_RUNGS), strict=True)
        rungs = [
            Rung(machine, states.copy(), born.copy(), seen.copy(), float(accepted))
            for machine, (states, born, seen, accepted) in zip(machines, own, strict=True)
        ]
        generation, turn = map(int, arrays["counts"])
        return cls(rungs, generation, np.array(arrays["trips"]), turn)

    def thin(self, forced: bool = False, moving: bool = False) -> int:
        """Leave out rungs without which replicas go up and down no slower; return how many.

        A lift has one step a pair, and a round trip takes about ``2 Σ 1/a`` lifts with the acceptances a of the
        pairs: in steps, ``2 n Σ 1/a`` for n pairs. Without rung k it would be ``2 (n - 1) (Σ 1/a - 1/a_k - 1/a_{k+1} +
        1/a)``, with a the acceptance of swaps past it. Pairs below `TORN` are not made. With ``forced`` one rung goes
        in any case, the one that is needed least; where the top is ``moving``, the rung that it has just left stays.
        """
        left_out = 0
        while len(self.rungs) > 2 + moving:
            slow = 1 / np.maximum(self.acceptances, 1e-9)
            past = np.array([acceptance(a, b) for a, b in zip(self.rungs, self.rungs[2:], strict=False)])
            cost = 1 / np.maximum(past, 1e-9) - slow[:-1] - slow[1:]
            if not forced:
                cost[past < TORN] = np.inf
            k = int(np.argmin(cost[: len(cost) - moving]))
            if not (forced or (len(slow) - 1) * (slow.sum() + cost[k]) <= len(slow) * slow.sum()):
                break
            del self.rungs[k + 1]
            self.rungs[k + 1].acceptance = past[k]
            left_out += 1
            if forced:
                break
        return left_out


def uncoupled(machine: Machine, bias: np.ndarray) -> Machine:
    """Return the machine of the same form without weights, with ``bias`` for the visible units and none for others."""
    zeros = machine.by_kind.map(np.zeros_like)
    return machine.with_parameters(replace(zeros, biases=(bias, *zeros.biases[1:]), own=machine.by_kind.own))


def independent(machine: Machine, bias: Any, chains: int, rng: np.random.Generator) -> Rung:
    """Return the bottom of a ladder to the machine, `uncoupled`, and draws of it."""
    layer = machine.layers[VISIBLE]
    return bottom(uncoupled(machine, np.asarray(bias, layer.bias.dtype)), chains, rng)


def bottom(machine: Machine, chains: int, rng: np.random.Generator) -> Rung:
    """Return a rung of exact draws: of a machine without weights, or with those of few hidden units only."""
    layer = machine.layers[VISIBLE]
    rung = Rung.new(machine, np.zeros((chains, len(layer.bias)), layer.unit.dtype))
    rung.redraw(rng)
    return rung


def between(a: Machine, b: Machine, t: float) -> Machine:
    """Return the machine with the parameters ``(1 - t)`` of ``a`` and ``t`` of ``b``."""
    ends = zip(a.parameters, b.parameters, strict=True)
    return a.with_parameters([((1 - t) * p + t * q).astype(p.dtype) for p, q in ends])


def acceptance(low: Rung, high: Rung) -> Any:
    """Return the mean acceptance of swaps between two rungs; one for each row where units are clamped."""
    found = Energies.of(low, high).acceptances.mean(0)
    return found if found.ndim else float(found)


def ladder_to(machine: Machine, chains: int, rng: np.random.Generator) -> Ladder:
    """Return a ladder to a machine with numbers, along the straight way from independent units.

    These have the visible means of chains of the machine itself from dispersed starts.
    """
    unit = machine.layers[VISIBLE].unit
    states = swept(machine, dispersed_states(machine, STARTS, rng), rng, SETTLE)
    mean = (states.sum(0) + unit.middle) / (len(states) + 1)
    return ladder_from(independent(machine, unit.bias_of_mean(mean), chains, rng), machine, rng)


def ladder_from(bottom: Rung, machine: Machine, rng: np.random.Generator) -> Ladder:
    """Return a ladder along the straight way to the machine, with as many rungs as swaps need."""
    ladder = Ladder([bottom])
    ladder.reach(machine, rng)
    for _ in range(SETTLE):
        ladder.lift(rng)
        ladder.mend(rng)
    return ladder


def with_prefix(values: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Return the values whose names begin with the prefix, under their names without it."""
    return {str(key).removeprefix(prefix): x for key, x in values.items() if str(key).startswith(prefix)}


def recorded_ladder(tree: Any, machine: Machine) -> tuple[str, xr.Dataset] | None:
    """Return the name of the RBM and the group ``ladder`` in what `fit` returned, if this machine is at its top."""
    group = tree["ladder"].to_dataset() if isinstance(tree, xr.DataTree) and "ladder" in tree else xr.Dataset()
    ending = "_ladder_counts"
    for name in (str(x).removesuffix(ending) for x in group.data_vars if str(x).endswith(ending)):
        keys = [f"{name}_ladder_parameter_{i}" for i in range(len(machine.parameters))]
        tops = [group[key].values[-1] for key in keys if key in group]
        if len(tops) == len(keys) and all(map(np.array_equal, tops, machine.parameters)):
            return name, group
    return None
