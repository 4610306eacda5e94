"""Probes: what draws alone cannot show, the machine can.

Chains that agree may share a mode. Probes are chains of the same machine from starts that were chosen to end up
elsewhere, if there is an elsewhere: where they stay away from the draws, the draws did not mix. Whether that elsewhere
has any weight is then a question of free energies, which annealing in both directions bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from pymc_rbm.annealing import SEGMENT_ENTRIES
from pymc_rbm.functionals import leading_directions
from pymc_rbm.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.measures import columns, rhat, rhat_by_chance, rounding, settled
from pymc_rbm.paths import Path
from pymc_rbm.sampling import dispersed_states, run_chains
from pymc_rbm.thresholds import BURN_IN, FALSE_ALARM, LEAST_PROBE_DRAWS, MARGIN, NEGLIGIBLE_WEIGHT
from pymc_rbm.units import Unit

__all__ = ["ProbeResult", "mode_weight_bound", "run_probes", "starts"]

EACH = 4  # probes of a kind
TEMPERATURES = 200
BOUND_TEMPERATURES, BOUND_PARTICLES, BACKWARD_PARTICLES = 1000, 100, 10


@dataclass(frozen=True)
class ProbeResult:
    """Probes against draws.

    Attributes
    ----------
    kinds : list of str
        Of each probe's start.
    away : ndarray of bool, shape (probes,)
        Whether the probe's mean of some functional is further from the draws' than chance allows.
    rhat, rhat_by_chance : dict
        By functional: R-hat of draws and probes together (negligible ones left out), and what chance allows.
    draws, sweeps : int
        Length of a probe, burn-in included.
    weight : float
        Upper bound on the probability of where the probes that are away sit; 0 without such probes.
    """

    kinds: list[str]
    away: np.ndarray
    rhat: dict[str, float]
    rhat_by_chance: dict[str, float]
    draws: int
    sweeps: int
    weight: float

    @property
    def negligible(self) -> bool:
        """Whether the probes that are away sit where the machine hardly ever is."""
        return self.weight <= NEGLIGIBLE_WEIGHT

    @property
    def disagreeing(self) -> list[str]:
        """Functionals whose R-hat over draws and probes is more than chance allows."""
        return [key for key, x in self.rhat.items() if x > self.rhat_by_chance[key]]


def starts(machine: Machine, states: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Visible states to start probes from, by kind, given states of the draws, shape (rows, visible).

    ``complement``: every unit of a drawn state turned to its other extreme. ``reflection``: a drawn state mirrored,
    about the middle of the units' range, across a leading singular direction of W, and rounded. ``extreme``: the states
    with the largest and the smallest projection on such a direction. ``dispersed``: every level of activity.
    ``tempered``: annealed from independent uniform units to the machine. Units without finitely many states have only
    ``dispersed``.
    """
    unit, size = machine.layers[VISIBLE].unit, states.shape[1]
    found = {"dispersed": dispersed_states(machine, EACH, rng)}
    if not unit.finite:
        return found
    (low, high), middle = unit.ends, unit.middle
    directions = leading_directions(machine).T
    chosen = states[rng.permutation(len(states))[:EACH]].astype("float64")
    found["complement"] = nearest(unit, low + high - chosen)
    mirrored = [x - 2 * ((x - middle) @ u) * u for u in directions for x in chosen[:2]]
    found["reflection"] = nearest(unit, np.reshape(mirrored, (-1, size)))
    far = np.max(high - low) / np.finfo(float).eps  # beyond the units' range, whatever the size of u's entries
    found["extreme"] = nearest(unit, np.reshape([far * s * u for u in directions for s in (1, -1)], (-1, size)))
    path = _path(machine, np.zeros(size))
    found["tempered"] = _annealed(path, path.base_states(rng, EACH)[0], rng, TEMPERATURES)[0]
    return {kind: x.astype(unit.dtype) for kind, x in found.items()}


def nearest(unit: Unit, x: np.ndarray) -> np.ndarray:
    """The states nearest to rows of real numbers, unit by unit; the first state of those equally near."""
    found, start = [], 0
    for family, n in unit.parts(x.shape[-1]):
        states = np.reshape(np.array(family.states), (-1, family.width))
        own = x[..., start : start + n]
        # Nearest to x is what maximises the product with x less half the square.
        score = np.reshape(own, (-1, family.width)) @ states.T - (states**2).sum(1) / 2
        found.append(states[score.argmax(1)].reshape(own.shape))
        start += n
    return np.concatenate(found, axis=-1)


def run_probes(
    machine: Machine,
    functionals: dict[str, np.ndarray],
    states: np.ndarray,
    sweeps: int,
    autocorrelation: dict[str, float],
    rng: np.random.Generator,
    extra: dict[str, np.ndarray] | None = None,
    progressbar: bool = False,
) -> ProbeResult:
    """Run probes for as many sweeps a draw as the draws had, and compare.

    Parameters
    ----------
    machine : Machine
    functionals : dict
        Of the draws, (chain, draw, …).
    states : ndarray, shape (rows, visible)
        Some states of the draws.
    sweeps : int
        Per draw.
    autocorrelation : dict
        Integrated, in draws, by functional: how long a probe must be and what its mean may deviate by. 1 where a
        functional of the draws never changes.
    rng : Generator
    extra : dict, optional
        Further starts by kind, such as rows of the data.
    progressbar : bool

    Notes
    -----
    A probe is away where its ranks among the draws, by some functional or by its distance from the median, have a mean
    that chance makes as extreme with a probability of `thresholds.FALSE_ALARM`, over all probes and functionals.
    """
    by_kind = starts(machine, states, rng) | (extra or {})
    kinds = [kind for kind, x in by_kind.items() for _ in x]
    length = max(LEAST_PROBE_DRAWS, int(np.ceil(BURN_IN * max([1.0, *autocorrelation.values()]))))
    first = np.concatenate(list(by_kind.values()))
    kept, _ = run_chains(machine, first, rng, length, length * sweeps, sweeps, progressbar=progressbar)
    visited = kept.pop("states")
    draws = columns(functionals)
    probes = {key: settled(x, draws[key]) for key, x in columns(kept).items()}
    draws = {key: settled(x) for key, x in draws.items()}
    level = FALSE_ALARM / len(draws)
    scores = [_scores(probes[key], x, autocorrelation[key]) for key, x in draws.items()]
    away = np.max(scores, axis=(0, 1)) > scipy.stats.norm.isf(level / len(kinds) / 4)
    weight = mode_weight_bound(machine, visited[away], states, rng) if away.any() else 0.0
    compared = ~away if weight <= NEGLIGIBLE_WEIGHT else np.ones_like(away)
    together = {key: _together(x, probes[key][compared]) for key, x in draws.items()}
    return ProbeResult(
        kinds,
        away,
        {key: rhat(x) for key, x in together.items()},
        {key: rhat_by_chance(len(x), x.shape[1], autocorrelation[key], level) for key, x in together.items()},
        2 * length,
        2 * length * sweeps,
        weight,
    )


def _scores(probes: np.ndarray, draws: np.ndarray, autocorrelation: float) -> np.ndarray:
    """How far each probe is from the draws, in location and in spread, as two rows of standard normal numbers.

    By the mean over a probe of its ranks among the draws, between 0 and 1: with a mean of 1/2 and a variance of 1/12
    times the autocorrelation over the length if it is where the draws are. Ranks do not mind how skewed a value is.
    """
    error = np.sqrt(autocorrelation / 12 * (1 / probes.shape[1] + 1 / draws.size))
    margin, middle, out = rounding(draws), np.median(draws), []
    for ours, theirs in ((probes, draws), (np.abs(probes - middle), np.abs(draws - middle))):
        ordered = np.sort(theirs, axis=None)
        below, above = np.searchsorted(ordered, ours - margin), np.searchsorted(ordered, ours + margin, side="right")
        out.append(np.abs((below + above).mean(1) / (2 * draws.size) - 0.5) / error)
    return np.array(out)


def _together(draws: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Draws and probes as chains of one length; longer ones are cut into pieces, so that each weighs the same."""
    length = min(draws.shape[1], probes.shape[1])
    return np.concatenate([x[:, : x.shape[1] // length * length].reshape(-1, length) for x in (draws, probes)])


def mode_weight_bound(machine: Machine, visited: np.ndarray, states: np.ndarray, rng: np.random.Generator) -> float:
    r"""Bound the probability of the modes in which probes sit, from above.

    Annealing from independent units to the machine gives weights with mean Z, so the log of their mean exceeds log Z by
    ``t`` with a probability of at most e⁻ᵗ. Annealing backwards from a draw of the machine restricted to a mode ``B``
    gives, by Jensen's inequality, log-weights whose mean is at least log Z_B on average. The difference bounds
    ``log(Z_B / Z)`` [1]_. Any independent units will do; those with the means of the draws, and backwards those with
    the means of a probe, make the bounds tight. Modes that several probes share are counted several times.

    Parameters
    ----------
    machine : Machine
    visited : ndarray, shape (probes, draws, visible)
        States of the probes, as draws of the machine restricted to their modes.
    states : ndarray, shape (rows, visible)
        Some states of the draws.
    rng : Generator

    Returns
    -------
    float
        At most 1. Three standard errors of the backward mean and 3 nats for the forward one are included.

    References
    ----------
    .. [1] Burda, Y., Grosse, R., Salakhutdinov, R. (2015). Accurate and conservative estimates of MRF log-likelihood
       using reverse annealing. AISTATS.
    """
    if not machine.layers[VISIBLE].unit.finite:
        return 1.0
    path = _path(machine, _bias_of(machine, states))
    _, forward = _annealed(path, path.base_states(rng, BOUND_PARTICLES)[0], rng, BOUND_TEMPERATURES)
    log_z = scipy.special.logsumexp(forward) - np.log(len(forward)) - MARGIN
    thinned = visited[:, np.linspace(0, visited.shape[1] - 1, BACKWARD_PARTICLES).astype(int)]
    paths = [_path(machine, _bias_of(machine, x)) for x in visited]
    pairs = zip(paths, thinned, strict=True)
    backward = np.array([_annealed(own, x, rng, BOUND_TEMPERATURES, backwards=True)[1] for own, x in pairs])
    upper = backward.mean(1) + MARGIN * backward.std(1, ddof=1) / np.sqrt(BACKWARD_PARTICLES)
    return float(np.exp(min(0.0, scipy.special.logsumexp(upper) - log_z)))


def _path(machine: Machine, bias: np.ndarray) -> Path:
    """The path from independent units, the visible ones with the given biases, to the machine."""
    return Path(machine, (bias, *(np.zeros_like(layer.bias) for layer in machine.layers[HIDDEN:])))


def _bias_of(machine: Machine, states: np.ndarray) -> np.ndarray:
    """Biases of independent visible units with the means of ``states``, shrunk by one row in the middle."""
    unit = machine.layers[VISIBLE].unit
    return unit.bias_of_mean((states.sum(0) + unit.middle) / (len(states) + 1))


def _annealed(
    path: Path, states: np.ndarray, rng: np.random.Generator, temperatures: int, backwards: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Anneal visible states along a path, up or down.

    Returns the ends and the log-weights, whose exponential (backwards, its inverse) has the mean Z (or 1/Z).
    """
    betas = np.linspace(0, 1, temperatures)[:: -1 if backwards else 1]
    total, length = np.zeros(len(states)), max(1, SEGMENT_ENTRIES // (path.units * len(states)))
    for begin in range(0, temperatures - 1, length):  # Ctrl-C is heard after each
        [states], increments = path.walk(rng, betas[begin : begin + length + 1], [states], backwards)
        total += increments.sum(0)
    return states, path.log_z_base + (-total if backwards else total)
