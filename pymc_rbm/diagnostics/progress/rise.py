"""A climb on the exact objective, from where learning ended, measures how much the objective still rises."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pymc_rbm.diagnostics.examine import activity
from pymc_rbm.learning.goal import Goal
from pymc_rbm.machine.machine import HIDDEN, Machine
from pymc_rbm.sampling.observables import SATURATED

__all__ = ["Rise", "climbed", "perturbed"]

FEWEST, MOST, WORK = 20, 400, 2**29
"""The fewest and most iterations of a climb, and about how many entries of states it may go through in between."""
RESTARTS = 0.5, 1.0, 2.0, 4.0
"""The scales of the weights at other starts."""
MEMORY = 30
WATCHED, LITTLE = 30, 0.02
"""A climb goes on while ``WATCHED`` iterations gain the share ``LITTLE`` of what matters: slow climbs go far."""
FAR = 10
"""A climb ends where rows that were not kept add so many times what matters, and those that were kept lose: what the
former add is known to first order only, which far away means nothing."""
LARGER = 1.1, 1.2, 1.3
KICKS, KICK = 3, 0.1
"""How often a climb is continued or, if it has come to rest, repeated with noise, and the size of the noise as a share
of the parameters' size: climbs come to rest near saddles, too, where hidden units have no role yet."""
IDLE = 0.1
"""The norm of a hidden unit's weights below which it gets new weights of this norm."""


@dataclass(frozen=True)
class Rise:
    """Result of a climb.

    Attributes
    ----------
    gain : float
        Nats a row by which the objective rose at least, and its standard error.
    error : float
    most : float
        An upper bound on the gain, as far as the climb can tell.
    exact : bool
        Whether the gain has no Monte Carlo error.
    endless : bool
        Whether the objective at the end of the climb still rises when all weights and biases grow by a third.
    elsewhere : bool
        Whether only another start led to a gain.
    revived : bool
        Whether only new weights for saturated hidden units led to a gain.
    """

    gain: float
    error: float = 0.0
    most: float = np.inf
    exact: bool = False
    endless: bool = False
    elsewhere: bool = False
    revived: bool = False


def perturbed(machine: Machine, rng: np.random.Generator) -> Machine:
    """Return the machine with small random weights for hidden units whose weights are nearly zero.

    At W = 0 the gradient by W is zero, whatever the data.
    """
    if len(machine.layers) == 1:
        return machine
    weights = np.array(machine.couplings[0].weights)
    idle = np.linalg.norm(weights, axis=0) < IDLE
    weights[:, idle] += IDLE / np.sqrt(len(weights)) * rng.standard_normal((len(weights), int(idle.sum())))
    return with_weights(machine, weights)


def _revived(goal: Goal, rng: np.random.Generator) -> Machine | None:
    """Return the machine with small random weights for hidden units at an extreme in all rows; None if there are none.

    What such a unit adds to the visible biases they keep. Climbs cannot do this: its gradient is almost zero.
    """
    machine = goal.machine
    if len(machine.layers) == 1 or not machine.layers[HIDDEN].unit.finite or machine.layers[HIDDEN].unit.width > 1:
        return None
    own = activity(machine, goal.data.states[None], rng)
    [low], [high] = own["hidden_low"], own["hidden_high"]
    off, on = high < SATURATED, low > 1 - SATURATED
    if not (off | on).any():
        return None
    parameters = machine.by_kind.map(lambda p: np.array(p, "float64"))
    [W], (b, c) = parameters.weights, parameters.biases
    least, most = (np.asarray(x, "float64") for x in machine.layers[HIDDEN].unit.ends)
    b += W @ np.where(on, most, np.where(off, least, 0.0))
    n = int((off | on).sum())
    W[:, off | on] = IDLE / np.sqrt(len(W)) * rng.standard_normal((len(W), n))
    c[off | on] = 0.0
    return machine.with_parameters(parameters)


def with_weights(machine: Machine, weights: np.ndarray) -> Machine:
    """Return the machine with another W (or U)."""
    return machine.with_parameters(replace(machine.by_kind, weights=(weights,)))


def climbed(goal: Goal, matters: float, gained: float, rng: np.random.Generator) -> Rise:
    """Climb an exact goal from its machine.

    Parameters
    ----------
    goal : Goal
    matters : float
        The gain in nats a row that matters.
    gained : float
        By how much the machine is better than independent units: where that plus the gain is less than what matters,
        other starts are tried, too. With correlations of order three and more only (parity) the gradient at
        W = 0 says nothing, and with a prior on W that is a maximum.
    rng : Generator
    """
    before, _ = goal(goal.packed(goal.machine.parameters))
    moves = goal.moves_weights
    start = perturbed(goal.machine, rng) if moves else goal.machine
    best, end, sure, settled = _climb(goal, goal.packed(start.parameters), matters)
    for _ in range(KICKS):
        if sure - before > matters:
            break
        kick = KICK * np.sqrt(np.mean(end**2)) * rng.standard_normal(end.shape) if settled else 0.0
        again, there, value, done = _climb(goal, end + kick, matters)
        sure = max(sure, value)
        if again > best:
            best, end, settled = again, there, done
    gain = max(0.0, sure - before)
    rise = Rise(gain, most=max(gain, best - before) if settled else np.inf, exact=True, endless=_is_endless(goal, end))
    if not moves or gain > matters:
        return rise
    if (other := _revived(goal, rng)) is not None:
        _, _, value, _ = _climb(goal, goal.packed(other.parameters), matters)
        if value - before > matters:
            return Rise(value - before, most=np.inf, exact=True, revived=True)
    if gained + gain > matters:
        return rise
    for scale in RESTARTS:
        weights = scale * rng.standard_normal(np.shape(start.couplings[0].weights))
        other = with_weights(goal.machine, _symmetric(weights) if len(start.layers) == 1 else weights)
        _, _, value, _ = _climb(goal, goal.packed(other.parameters), matters)
        if value - before > max(rise.gain, matters):
            rise = Rise(value - before, most=np.inf, exact=True, elsewhere=True)
    return rise


def _symmetric(weights: np.ndarray) -> np.ndarray:
    return (weights + weights.T) / np.sqrt(2)


def _is_endless(goal: Goal, end: np.ndarray) -> bool:
    """Whether the objective rises, and goes on rising, as all parameters that may move grow."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = [goal(factor * end)[0] for factor in (1.0, *LARGER)]
    return bool(np.all(np.diff(values) > 0))


def _climb(goal: Goal, start: np.ndarray, matters: float) -> tuple[float, np.ndarray, float, bool]:
    """Climb by L-BFGS; return the best value, where it is, the best sure value, and whether the climb came to rest.

    A sure value is the smaller one of that by the kept rows and that by all rows, as far as these are known.
    """
    from scipy.optimize import minimize

    best: list[tuple[float, np.ndarray]] = [(-np.inf, start)]
    sure = [-np.inf]
    values: list[float] = []

    def descent(x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            value, slope = goal(x)
        if np.isfinite(value) and np.isfinite(slope).all():
            if value >= best[0][0]:
                best[0] = value, x.copy()
            sure[0] = max(sure[0], value - max(goal.of_rest(x), 0.0))
            return -value, -slope
        back = x - best[0][1]  # where the objective is not defined, the slope leads back
        return 1.0 - best[0][0], 2 * back / max(back @ back, 1e-300)

    def slow() -> bool:
        return len(values) > WATCHED and values[-1] - values[-1 - WATCHED] < LITTLE * matters

    def after(intermediate_result) -> None:
        values.append(-float(intermediate_result.fun))
        rest = goal.of_rest(intermediate_result.x)
        if slow() or (rest > FAR * matters and values[-1] - rest < kept):
            raise StopIteration

    most = int(np.clip(WORK / goal.entries, FEWEST, MOST))
    signs = goal.signs
    bounds = np.transpose([np.where(signs > 0, 0.0, -np.inf), np.where(signs < 0, 0.0, np.inf)])
    start = np.clip(start, *bounds.T)
    kept = -np.inf if goal.rest is None else goal(start)[0] - goal.of_rest(start)
    options = {"maxiter": most, "maxcor": MEMORY}
    end = minimize(
        descent, start, jac=True, method="L-BFGS-B", bounds=bounds if signs.any() else None, callback=after,
        options=options,
    )  # fmt: skip
    return *best[0], sure[0], slow() or bool(end.success)
