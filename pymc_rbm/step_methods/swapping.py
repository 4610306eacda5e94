r"""A variable's chain in a model swaps with chains on the rungs below it, down to independent units.

*Why the law is right.* The replicas ``x_k`` on the rungs ``t_0 = 0 < t_1 < … < t_K < 1`` are no part of the model. They
have densities ``p_k`` (`rungs`) that depend on no variable of it, so that the joint density is

.. math::  \pi(v, y) \prod_k p_k(x_k),

whose marginal in (v, y) is the model's, whatever the densities of the rungs; other steps of the model see no change.
Parameters of the machine and dependants may be random, too: rungs are made of one value ``y°`` of all that v depends
on, and a v that moves away from it swaps less, but not wrongly. Each lift sweeps the rungs from below, and lets
neighbours exchange states with probability ``min(1, exp(up - down))``, where ``up`` is ``ℓ_high - ℓ_low`` at the state
of the lower rung and ``down`` at that of the upper one (Geyer 1991). At the top ``ℓ_high`` is the log-density of v
given the present y. In it hidden units are summed out, and so are Hidden variables without dependants, which the step
draws anew after the swap. Rows swap by themselves where dependants keep them apart.

*Tuning.* Rungs stand where neighbours swap with equal probability: with the acceptance a, their energies differ as if
by a normal variable of deviation ``s = -√2 Φ⁻¹(a/2)``, and s adds up along the way, so that inverse temperatures follow
by interpolation, one each `STEP` (about as in `ladder`; Syed et al. 2022, JRSS B 84). This is done before the first
draw, with replicas alone, and again in ``tune`` draws after 50, 150, 350, … lifts, each time with y° as it is then, if
as many lifts as since the last time are left for replicas to settle. After that the densities of the rungs are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pymc_rbm.sampling.ladder import FROM_BOTTOM, FROM_TOP, MOST_RUNGS, STEP
from pymc_rbm.step_methods.rungs import RungFunctions
from pymc_rbm.support.interrupts import whole

__all__ = ["Replicas", "begun", "lift"]

FIRST_PAIRS = 8
FIRST_ROUNDS = 10, 20, 40, 80
"""The numbers of lifts between placings of the rungs, before the first draw."""
FIRST_DUE = 50
ENTRIES, MOST_CHAINS = 2**19, 100
"""The most entries, and the most chains, of the states that give the means of the independent units."""
LEAST_ACCEPTANCE = 1e-4
"""The acceptance that is assumed of pairs that swap less often than this."""

Point = dict[str, np.ndarray]


@dataclass
class Replicas:
    """The chains on the rungs below a variable's own chain, and what was counted of all of them.

    Attributes
    ----------
    t : ndarray, shape (K + 1,)
        Inverse temperatures, from 0 at the bottom to 1 of the variable itself.
    states : list of K ndarray
        Of all rungs but the top.
    base : ndarray
        Visible biases of the independent units.
    rest : list of ndarray
        y°, by the names in `RungFunctions.rest`.
    born, seen : ndarray of int, shape (K + 1, …)
        The generation in which a replica was drawn at the bottom, and the end where it was last, by row (`ladder`).
    accepted : ndarray, shape (K, …)
        Sums of the acceptances of each pair since rungs were placed.
    lifts, due, left : int
        How many there were since then, with how many they are placed again, and how many are left of tuning.
    generation, trips : ndarray, shape (…)
        Renewals of the top plus one, and round trips, by row.
    """

    t: np.ndarray
    states: list[np.ndarray]
    base: np.ndarray
    rest: list[np.ndarray]
    born: np.ndarray
    seen: np.ndarray
    accepted: np.ndarray
    generation: np.ndarray
    trips: np.ndarray
    lifts: int = 0
    due: int = FIRST_DUE
    left: int = 0
    frozen: bool = False

    def figures(self) -> dict[str, Any]:
        """Return the number of rungs, the least acceptance of a pair, and the least trips and renewals of rows."""
        return {
            "rungs": len(self.t),
            "least_acceptance": float(self.acceptances().min()),
            "round_trips": int(self.trips.min()),
            "renewals": int(self.generation.min()) - 1,
        }

    def acceptances(self) -> np.ndarray:
        """The swap acceptance of each pair since the rungs were placed, in the row that swaps least."""
        return (self.accepted / max(1, self.lifts)).reshape(len(self.accepted), -1).min(1)

    def forget(self) -> None:
        """Start all counts of swaps, lifts, trips and renewals anew."""
        self.born, self.seen, self.accepted = (np.zeros_like(x) for x in (self.born, self.seen, self.accepted))
        self.generation, self.trips, self.lifts = np.ones_like(self.generation), np.zeros_like(self.trips), 0

    def place(self) -> None:
        """Put the rungs where all neighbours would swap equally often, each with the state of the nearest old rung."""
        normal = NormalDist()
        a = np.clip(self.acceptances(), LEAST_ACCEPTANCE, 1 - LEAST_ACCEPTANCE)
        far = np.array([0, *np.cumsum([-np.sqrt(2) * normal.inv_cdf(x / 2) for x in a])])
        pairs = int(np.clip(np.ceil(far[-1] / STEP), 1, min(2 * len(a) + 1, MOST_RUNGS)))
        t = np.interp(np.linspace(0, far[-1], pairs + 1), far, self.t)
        t[0], t[-1] = 0.0, 1.0
        nearest = np.abs(self.t[:-1] - t[:-1, None]).argmin(1)
        self.t, self.states = t, [self.states[k].copy() for k in nearest]
        rows = self.generation.shape
        self.born, self.seen = np.zeros((pairs + 1, *rows), "int64"), np.zeros((pairs + 1, *rows), "int8")
        self.accepted = np.zeros((pairs, *rows))
        self.forget()


def begun(
    functions: RungFunctions, rng: np.random.Generator, cautions: np.ndarray, point: Point, tuning: int
) -> tuple[np.random.Generator, Replicas]:
    """Return replicas that all start where the variable is, with rungs that are placed by replicas alone.

    ``tuning`` is the number of lifts in which they may be placed again.
    """
    rest = [np.array(point[name]) for name in functions.rest]
    x = np.array(point[functions.value])
    size = x.size if functions.mask is None else functions.mask.size
    chains = int(np.clip(ENTRIES // max(1, size), 2, MOST_CHAINS))
    rng, mean = whole(functions.means, rng, np.asarray(chains), x, *rest)
    base = np.asarray(functions.bias_of_mean(mean), "float64")
    [density] = whole(functions.log_density, np.asarray(1.0), base, x, *rest)
    rows, t = np.shape(density), np.linspace(0, 1, FIRST_PAIRS + 1)
    zeros = np.zeros((len(t), *rows), "int64")
    replicas = Replicas(
        t,
        [x.copy() for _ in t[1:]],
        base,
        rest,
        zeros,
        zeros.astype("int8"),
        np.zeros((len(t) - 1, *rows)),
        np.ones(rows, "int64"),
        np.zeros(rows, "int64"),
        left=tuning,
    )
    for number in FIRST_ROUNDS:
        for _ in range(number):
            rng, x = _up(functions, replicas, rng, cautions, x)
        replicas.place()
    return rng, replicas


def _tune(functions: RungFunctions, replicas: Replicas, point: Point) -> None:
    """Place the rungs again when that is due, and restart all counts when tuning has ended."""
    r = replicas
    if r.left == 0:
        if not r.frozen:
            r.forget()
        r.frozen = True
        return
    r.left -= 1
    if r.left >= r.due and r.lifts >= r.due:
        r.rest, r.due = [np.array(point[name]) for name in functions.rest], 2 * r.due
        r.place()


def lift(
    functions: RungFunctions, replicas: Replicas, rng: np.random.Generator, cautions: np.ndarray, point: Point
) -> tuple[np.random.Generator, np.ndarray]:
    """Sweep and swap all rungs below the top and then swap with it; return the generator and the variable's value."""
    _tune(functions, replicas, point)
    return _up(functions, replicas, rng, cautions, point[functions.value], point)


def _up(
    functions: RungFunctions,
    replicas: Replicas,
    rng: np.random.Generator,
    cautions: np.ndarray,
    top: np.ndarray,
    point: Point | None = None,
) -> tuple[np.random.Generator, np.ndarray]:
    """Lift once. Without a ``point`` the top is a replica like the others, and is swept first."""
    r, own = replicas, np.maximum(cautions[functions.cautions], 0.0)
    rng, r.states[0] = whole(functions.bottom, rng, r.base, r.states[0], *r.rest)
    r.trips = r.trips + (r.seen[0] == FROM_TOP)
    r.seen[0], r.born[0] = FROM_BOTTOM, r.generation
    t = [np.asarray(x) for x in r.t]
    last = len(r.states)
    for k in range(1, last + 1):
        low = r.states[k - 1]
        if k < last or point is None:
            high = r.states[k] if k < last else top
            rng, high, up, down = whole(functions.pair, rng, own, t[k - 1], t[k], r.base, low, high, *r.rest)
        else:
            high = top
            up, down = (_gain(functions, r, x, t[k - 1], t[k], point) for x in (low, top))
        r.states[k - 1], high = _exchange(functions, r, k, low, high, up - down, rng)
        if k < last:
            r.states[k] = high
    r.lifts += 1
    r.seen[last] = np.where(r.seen[last] == FROM_BOTTOM, FROM_TOP, r.seen[last])
    r.generation = r.generation + (r.born[last] >= r.generation)
    return rng, high


def _gain(functions: RungFunctions, r: Replicas, x: np.ndarray, below: Any, top: Any, point: Point) -> np.ndarray:
    """Return the log-density of the variable, given the rest of the model, less that of the rung below it, at x."""
    [of_rung] = whole(functions.log_density, below, r.base, x, *r.rest)
    [own] = whole(functions.log_density, top, r.base, x, *(np.asarray(point[name]) for name in functions.rest))
    return own - of_rung


def _exchange(
    functions: RungFunctions,
    r: Replicas,
    k: int,
    low: np.ndarray,
    high: np.ndarray,
    log_ratio: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Swap the states of the rungs k - 1 and k, and what is known of their replicas, in rows that accept it."""
    p = np.exp(np.minimum(np.where(np.isnan(log_ratio), -np.inf, log_ratio), 0.0))
    swap = rng.random(p.shape) < p
    r.accepted[k - 1] += p
    for known in (r.born, r.seen):
        known[k - 1], known[k] = np.where(swap, known[k], known[k - 1]), np.where(swap, known[k - 1], known[k])
    return functions.swapped(low, high, swap)
