"""Probes, chains of the same machine from other starts, show what draws alone cannot.

Chains that agree may share a mode. Probes start from states that were chosen to lead to other modes, if there are any:
where they stay away from the draws, the draws did not mix. Whether such a mode has any weight is then a question of
free energies, which annealing in both directions bounds. Draws by chains that swap along a ladder have probes that do,
too: by detailed balance such a chain leaves a mode that its ladder hardly finds as seldom as it finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from pymc_rbm.diagnostics.probe_starts import annealed, base_path, bias_of, starts
from pymc_rbm.diagnostics.thresholds import BURN_IN, LEAST_PROBE_DRAWS, MARGIN, NEGLIGIBLE_WEIGHT
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.chains import run_chains
from pymc_rbm.sampling.ladder import LEAST_RENEWALS, TORN
from pymc_rbm.sampling.laddered import first_ladder, run_ladder
from pymc_rbm.sampling.observables import functionals
from pymc_rbm.support.convergence import FALSE_ALARM, columns, rhat, rhat_by_chance, rounding, settled

__all__ = ["ProbeResult", "distinct", "mode_weight_bound", "run_probes"]

MOST_TRIPS = 100
"""The most round trips along a ladder that probes get to become new ones from its bottom twice."""
BOUND_TEMPERATURES, BOUND_PARTICLES, BACKWARD_PARTICLES = 1000, 100, 10
SAME_MODE = 5  # the most standard errors between means of probes in one mode


@dataclass(frozen=True)
class ProbeResult:
    """Results of the comparison of probes with draws.

    Attributes
    ----------
    kinds : list of str
        The kind of each probe's start.
    away : ndarray of bool, shape (probes,)
        Whether the probe's mean of some functional is further from the draws' than chance allows.
    rhat, rhat_by_chance : dict
        R-hat of draws and probes together (without negligible probes) by functional, and what chance allows.
    sweeps : int
        Length of a probe, burn-in included: sweeps, or lifts.
    weight : float
        Upper bound on the probability of where the probes that are away sit; 0 without such probes.
    renewed : bool
        Whether all probes along a ladder became new ones from its bottom twice; True of others.
    """

    kinds: list[str]
    away: np.ndarray
    rhat: dict[str, float]
    rhat_by_chance: dict[str, float]
    sweeps: int
    weight: float
    renewed: bool = True

    @property
    def negligible(self) -> bool:
        """Whether the probes that are away are where the machine hardly ever is."""
        return self.weight <= NEGLIGIBLE_WEIGHT

    @property
    def disagreeing(self) -> list[str]:
        """The functionals whose R-hat over draws and probes is more than chance allows."""
        return [key for key, x in self.rhat.items() if x > self.rhat_by_chance[key]]


def run_probes(
    machine: Machine,
    functionals: dict[str, np.ndarray],
    states: np.ndarray,
    sweeps: int,
    autocorrelation: dict[str, float],
    rng: np.random.Generator,
    extra: dict[str, np.ndarray] | None = None,
    progressbar: bool = False,
    among: int = 1,
    laddered: bool = False,
) -> ProbeResult:
    """Run probes with as many sweeps, or lifts, a draw as the draws had, and compare them with the draws.

    Parameters
    ----------
    machine : Machine
    functionals : dict
        Functionals of the draws, (chain, draw, …), by name.
    states : ndarray, shape (rows, visible)
        Some states of the draws.
    sweeps : int
        Sweeps per draw.
    autocorrelation : dict
        Integrated autocorrelation times in draws, by functional, from which follow the length of a probe and the
        deviation that its mean may have; 1 where a functional of the draws never changes.
    rng : Generator
    extra : dict, optional
        Further starts by kind, such as rows of the data.
    progressbar : bool
    among : int
        How many machines are probed, among which the chance of a false alarm is shared.
    laddered : bool
        Whether the draws' chains swap along a ladder: then the probes do along another, made for them.

    Notes
    -----
    A probe is away where its ranks among the draws, by some functional or by its distance from the median, have a mean
    that chance makes as extreme with a probability of `convergence.FALSE_ALARM`, over all probes and functionals.
    """
    by_kind = starts(machine, states, rng) | (extra or {})
    kinds = [kind for kind, x in by_kind.items() for _ in x]
    length = max(LEAST_PROBE_DRAWS, int(np.ceil(BURN_IN * max([1.0, *autocorrelation.values()]))))
    first = np.concatenate(list(by_kind.values()))
    if laddered:
        kept, burn_in, renewed = _along_ladder(machine, first, rng, length, sweeps, progressbar)
    else:
        burn_in, renewed = length * sweeps, True
        kept, _ = run_chains(machine, first, rng, length, burn_in, sweeps, progressbar=progressbar)
    visited = kept.pop("states")
    draws = columns(functionals)
    probes = {key: settled(x, draws[key]) for key, x in columns(kept).items()}
    draws = {key: settled(x) for key, x in draws.items()}
    level = FALSE_ALARM / len(draws) / among
    scores = [_scores(probes[key], x, autocorrelation[key]) for key, x in draws.items()]
    away = np.max(scores, axis=(0, 1)) > scipy.stats.norm.isf(level / len(kinds) / 4)
    elsewhere = visited[away][distinct(visited[away], max([1.0, *autocorrelation.values()]))]
    weight = mode_weight_bound(machine, elsewhere, states, rng) if away.any() else 0.0
    compared = ~away if weight <= NEGLIGIBLE_WEIGHT else np.ones_like(away)
    together = {key: _together(x, probes[key][compared]) for key, x in draws.items()}
    return ProbeResult(
        kinds,
        away,
        {key: rhat(x) for key, x in together.items()},
        {key: rhat_by_chance(len(x), x.shape[1], autocorrelation[key], level) for key, x in together.items()},
        burn_in + length * sweeps,
        weight,
        renewed,
    )


def _along_ladder(
    machine: Machine, first: np.ndarray, rng: np.random.Generator, draws: int, lifts: int, progressbar: bool
) -> tuple[dict[str, np.ndarray], int, bool]:
    """Run probes along a ladder; return functionals and states, the burn-in in lifts, and whether all were renewed."""
    ladder = first_ladder(machine, None, "pt", first, rng)
    trip = int(np.ceil(2 * (1 / np.maximum(ladder.acceptances, TORN)).sum()))  # lifts, as `Ladder.thin` says
    burn_in = 0
    while burn_in < draws * lifts or (ladder.renewals < LEAST_RENEWALS and burn_in < MOST_TRIPS * trip):
        run_ladder(ladder, rng, 1, trip - 1, 1, False, progressbar)
        burn_in += trip
    kept, _, _ = run_ladder(ladder, rng, draws, 0, lifts, True, progressbar)
    return kept, burn_in, ladder.renewals >= LEAST_RENEWALS


def _scores(probes: np.ndarray, draws: np.ndarray, autocorrelation: float) -> np.ndarray:
    """Return how far each probe is from the draws, in location and in spread, as two rows of standard normal numbers.

    They come from the mean over a probe of its ranks among the draws, between 0 and 1, with a mean of 1/2 and a
    variance of 1/12 times the autocorrelation over the length if the probe is where the draws are. Ranks do not depend
    on how skewed values are.
    """
    error = np.sqrt(autocorrelation / 12 * (1 / probes.shape[1] + 1 / draws.size))
    margin, middle, out = rounding(draws), np.median(draws), []
    for ours, theirs in ((probes, draws), (np.abs(probes - middle), np.abs(draws - middle))):
        ordered = np.sort(theirs, axis=None)
        below, above = np.searchsorted(ordered, ours - margin), np.searchsorted(ordered, ours + margin, side="right")
        out.append(np.abs((below + above).mean(1) / (2 * draws.size) - 0.5) / error)
    return np.array(out)


def distinct(visited: np.ndarray, autocorrelation: float) -> list[int]:
    """Return indices of probes of which no two are in the same mode, by the means of their units."""
    found: list[int] = []
    if not len(visited):
        return found
    means, error = visited.mean(1), visited.var(1) * autocorrelation / visited.shape[1]
    margin = rounding(means)
    for i in range(len(visited)):
        if not any(
            (np.abs(means[i] - means[j]) <= SAME_MODE * np.sqrt(error[i] + error[j]) + margin).all() for j in found
        ):
            found.append(i)
    return found


def _together(draws: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Return draws and probes as chains of one length, longer ones cut into pieces, so that all weigh the same."""
    length = min(draws.shape[1], probes.shape[1])
    return np.concatenate([x[:, : x.shape[1] // length * length].reshape(-1, length) for x in (draws, probes)])


def mode_weight_bound(machine: Machine, visited: np.ndarray, states: np.ndarray, rng: np.random.Generator) -> float:
    r"""Return an upper bound on the probability of the modes in which probes are.

    Annealing from independent units to the machine gives weights with mean Z, so the log of their mean exceeds log Z by
    ``t`` with a probability of at most e⁻ᵗ. Annealing backwards from a draw of the machine restricted to a mode ``B``
    gives, by Jensen's inequality, log-weights whose mean is at least log Z_B on average. The difference bounds
    ``log(Z_B / Z)`` [1]_. Any independent units will do; those with the means of the draws, and backwards those with
    the means of a probe, make the bounds tight. A mode that probes share is counted once, if their means show it.

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
    log_z = _log_z_at_least(machine, states, rng)
    thinned = visited[:, np.linspace(0, visited.shape[1] - 1, BACKWARD_PARTICLES).astype(int)]
    paths = [base_path(machine, bias_of(machine, x)) for x in visited]
    pairs = zip(paths, thinned, strict=True)
    backward = np.array([annealed(own, x, rng, BOUND_TEMPERATURES, backwards=True)[1] for own, x in pairs])
    upper = backward.mean(1) + MARGIN * backward.std(1, ddof=1) / np.sqrt(BACKWARD_PARTICLES)
    return float(np.exp(min(0.0, scipy.special.logsumexp(upper) - log_z)))


def _log_z_at_least(machine: Machine, states: np.ndarray, rng: np.random.Generator) -> float:
    """Return a lower bound of log Z, which fails with a probability of e^-`MARGIN`.

    The base has the means of the draws. Where units are real these may lie between narrow modes, where no draw is, so
    there two further bases lie at single draws, one of them the likeliest. Weights from any base have the mean Z, and
    so have those of all together.
    """
    centres = [states]
    if not machine.layers[VISIBLE].unit.finite:
        likeliest = functionals(machine, states)["free_energy"].argmin()
        centres += [states[i][None] for i in (likeliest, rng.integers(len(states)))]
    found = []
    for x in centres:
        path = base_path(machine, bias_of(machine, x))
        _, forward = annealed(path, path.base_states(rng, BOUND_PARTICLES)[0], rng, BOUND_TEMPERATURES)
        found.append(forward)
    return scipy.special.logsumexp(found) - np.log(np.size(found)) - MARGIN
