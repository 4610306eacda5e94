"""A learning run has finished if its objective no longer rises by more than an amount that matters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.progress.completions import data_sums
from pymc_rbm.diagnostics.progress.rise import Rise, climbed
from pymc_rbm.diagnostics.progress.sampled_rise import DRAWS, Draw, Sampled, climbed_by_draws, gain_by_draws
from pymc_rbm.diagnostics.thresholds import SHARE_OF_ERROR, SHARE_OF_GAIN
from pymc_rbm.learning.averaging import share_behind
from pymc_rbm.learning.goal import Goal, LogSums, Penalty, exact_log_z
from pymc_rbm.learning.independence import independent
from pymc_rbm.learning.penalties import recorded_penalty
from pymc_rbm.machine.colouring import own_entries
from pymc_rbm.machine.enumeration import independent_log_z
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.records import recorded_machine

__all__ = ["Progress", "averaged_machine", "measured"]

LEAST_EPOCHS = 10
FACTORS = 2**23
"""The most factors of an exact log Z with more than 2¹⁶ terms; a climb needs hundreds of these, about 5 s."""


@dataclass(frozen=True)
class Progress:
    """Measures of a learning run, in nats a row; NaN where something could not be measured.

    Attributes
    ----------
    rise : Rise or None
        The further rise of the objective; None where it could not be measured.
    matters : float
        The rise from which on learning has not finished.
    gained : float
        By how much the machine is better than independent units.
    trend : float
        By how much the last iterate is better than the average of the second half, and twice its standard error.
    trend_error : float
    rate : float
        The trend in nats a row and thousand updates at the largest rate.
    pseudo_trend : float
        By how much the pseudo-likelihood rose over the second half, by a straight line, and three standard errors.
    pseudo_trend_error : float
    whole : bool
        Whether weights and biases are all that learning moves.
    direct : bool
        Whether learning moves them directly. Where they are functions of what it moves, they cannot go everywhere.
    of_average : bool
        Whether the machine is the average of the iterates.
    growth : float
        How much larger the last weights W are than their average A, along it, ``W·A/A·A - 1``, to which noise adds
        nothing, over the share of the way that the average is behind: how much they grow over a way of this length.
    """

    rise: Rise | None
    matters: float
    gained: float
    trend: float
    trend_error: float
    rate: float
    pseudo_trend: float
    pseudo_trend_error: float
    whole: bool
    direct: bool
    of_average: bool = False
    growth: float = np.nan

    def figures(self) -> dict[str, float]:
        """Return scalars for the report."""
        found = {"rise_that_matters": self.matters, "gained": self.gained, "trend": self.trend, "rate": self.rate}
        found["pseudo_trend"] = self.pseudo_trend
        if self.rise is not None:
            found |= {"rise": self.rise.gain, "rise_error": self.rise.error, "rise_at_most": self.rise.most}
        return found


def measured(
    learned: xr.DataTree,
    name: str,
    machine: Machine,
    draw: Draw | None,
    rng: np.random.Generator,
) -> Progress:
    """Measure a learning run of which `fit` kept rows.

    Parameters
    ----------
    learned : DataTree
    name : str
        Name of the RBM.
    machine : Machine
        The machine that was learned.
    draw : callable or None
        A function that draws independent visible states; None where they cannot be drawn.
    rng : Generator
    """
    kept, of_average = learned["data"].dataset, learned.attrs.get("iterate") in ("average", "climbed")
    rows = np.asarray(kept[f"{name}_rows"], machine.layers[VISIBLE].unit.dtype)
    weights = np.asarray(kept.get(f"{name}_row_weights", np.ones(len(rows))), "float64")
    missing = np.asarray(kept[f"{name}_missing"], bool) if f"{name}_missing" in kept else None
    masks, whole, direct = _masks(learned, name, machine)
    total = float(learned["objective"][f"{name}_rows"]) if "objective" in learned else float(weights.sum())
    floor = SHARE_OF_ERROR * min(sum(int(m.sum()) for m in masks), total) / (2 * total)
    (penalty, rest), log_z = _penalty(learned, name, machine), exact_log_z(machine, FACTORS)
    data = data_sums(machine, rows, weights, missing, rng)
    if log_z is not None:
        goal = Goal(machine, masks, data, log_z, penalty, rest)
        here, alone = (goal(goal.packed(m.parameters))[0] for m in (machine, _independent(machine, kept, name)))
        gained = here - alone
        rise = climbed(goal, matters(gained, floor), gained, rng)
        trend = _trend_of_average(learned) if of_average else _exact_trend(goal, learned, name)
    else:
        gained = _pseudo_gain(learned, name, machine, data)
        rise, trend = None, (np.nan, np.nan)
        if draw is not None:
            sampled = Sampled(lambda m: data_sums(m, rows, weights, missing, rng), draw, masks, penalty, rest)
            rise = climbed_by_draws(sampled, machine, matters(gained, floor))
            trend = _trend_of_average(learned) if of_average else _sampled_trend(sampled, learned, name, machine)
    held = matters(gained + (0.0 if rise is None else rise.gain), floor)
    rate, growth = trend[0] * _per_thousand(learned), np.nan if of_average else _growth(learned, name, machine)
    return Progress(rise, held, gained, *trend, rate, *_pseudo_trend(learned, name), whole, direct, of_average, growth)


def matters(gained: float, floor: float) -> float:
    """Return the rise that matters, given what learning gains over independent units."""
    return float(np.fmax(SHARE_OF_GAIN * gained, floor))


def _masks(learned: xr.DataTree, name: str, machine: Machine) -> tuple[list[np.ndarray], bool, bool]:
    """Return which entries of biases and weights learning moves, whether it moves only these, and whether directly."""
    given = machine.by_kind
    recorded = "objective" in learned and f"{name}_is_free" in learned["objective"]
    free = (
        given.at(np.asarray(learned["objective"][f"{name}_is_free"]).tolist()) if recorded else given.map(lambda p: 1)
    )
    free = replace(free, own=(0,) * len(given.own))
    masks = given.map(lambda p, f: np.full(np.shape(p), bool(f)), free)
    if machine.own_coupling(VISIBLE) is not None:
        visible = machine.layers[VISIBLE]
        apart = ~own_entries(visible.unit, np.size(visible.bias))
        masks = replace(masks, weights=tuple(x & apart for x in masks.weights))
    whole = not recorded or bool(learned["objective"][f"{name}_is_whole"])
    return masks.flat(), whole, 2 not in free.flat()


def _penalty(learned: xr.DataTree, name: str, machine: Machine) -> tuple[Penalty, list[np.ndarray] | None]:
    """Return priors and potentials, and the difference between the gradients of all rows and of the kept rows."""
    penalty, rest = (recorded_penalty(learned, name, machine, key) for key in ("penalty", "rest"))
    curvatures = [np.minimum(c, 0) for c in penalty.curvatures]  # a heavy tail bends upwards, but only nearby
    recorded = learned["objective"].dataset if "objective" in learned else {}
    quadratic = bool(recorded.get(f"{name}_is_quadratic", True))
    found = Penalty(penalty.at, penalty.slopes, curvatures, quadratic)
    return found, rest.slopes if any(x.any() for x in rest.slopes) else None


def _independent(machine: Machine, kept: xr.Dataset, name: str) -> Machine:
    """Return the machine of independent units with the data's means."""
    return independent(machine, np.asarray(kept[f"{name}_mean"], "float64"))


def _pseudo_gain(learned: xr.DataTree, name: str, machine: Machine, data: LogSums) -> float:
    """Return by how much the pseudo-likelihood is above that of independent units, which is their likelihood."""
    recorded = learned["learning"].dataset.get(f"{name}_pseudo_log_likelihood")
    if recorded is None or not recorded.size or data.states.shape[0] != len(data.firsts):
        return np.nan
    last = float(recorded[-max(1, recorded.size // 4) :].mean())
    alone = _independent(machine, learned["data"].dataset, name)
    return last - (data(alone)[0] - independent_log_z(alone))


def _pseudo_trend(learned: xr.DataTree, name: str) -> tuple[float, float]:
    """Return the rise of a line through the second half of the pseudo-likelihoods, and three standard errors."""
    recorded = learned["learning"].dataset.get(f"{name}_pseudo_log_likelihood")
    values = np.zeros(0) if recorded is None else recorded.values[recorded.size // 2 :]
    if len(values) < LEAST_EPOCHS or not np.isfinite(values).all():
        return np.nan, np.nan
    epochs = np.linspace(-0.5, 0.5, len(values))
    slope = epochs @ values / (epochs @ epochs)
    left = values - values.mean() - slope * epochs
    return float(slope), float(3 * np.sqrt(left @ left / (len(values) - 2) / (epochs @ epochs)))


def averaged_machine(learned: xr.DataTree, name: str) -> Machine | None:
    """Return the machine at the average over the second half of learning; None where there was none."""
    if "averaged_machines" not in learned:
        return None
    return recorded_machine(xr.DataTree.from_dict({"machines": learned["averaged_machines"].dataset}), name=name)


def _growth(learned: xr.DataTree, name: str, machine: Machine) -> float:
    averaged = averaged_machine(learned, name)
    if averaged is None:
        return np.nan
    last, before = (np.ravel(m.couplings[0].weights) for m in (machine, averaged))
    behind = _rates_and_share_behind(learned)[1]
    if not before.any() or behind == 0:  # a climb has no average but its end
        return np.nan
    return float(last @ before / (before @ before) - 1) / behind


def _trend_of_average(learned: xr.DataTree) -> tuple[float, float]:
    """Return the trend that `fit` measured, if it returned the average and the last iterate is gone.

    Nothing where the exact objective was climbed from there.
    """
    if learned.attrs["iterate"] == "climbed":
        return 0.0, 0.0
    return -float(learned.attrs["average_gain"]), 2 * float(learned.attrs["average_gain_error"])


def _exact_trend(goal: Goal, learned: xr.DataTree, name: str) -> tuple[float, float]:
    averaged = averaged_machine(learned, name)
    if averaged is None:
        return np.nan, np.nan
    here, there = (goal(goal.packed(m.parameters))[0] for m in (goal.machine, averaged))
    return here - there, 0.0


def _sampled_trend(sampled: Sampled, learned: xr.DataTree, name: str, machine: Machine) -> tuple[float, float]:
    averaged = averaged_machine(learned, name)
    if averaged is None:
        return np.nan, np.nan
    goal = sampled.goal(machine, sampled.draw(machine, 4 * DRAWS[0]))
    gain, variance, share = gain_by_draws(goal, goal.packed(averaged.parameters))
    return (-gain, 2 * float(np.sqrt(variance))) if share > 0.1 else (np.nan, np.nan)


def _per_thousand(learned: xr.DataTree) -> float:
    """Return the factor that turns a rise from the second half's average to the end into a rise in a thousand updates.

    Updates count at the largest rate: both places lie on the way that the learning rates add up to.
    """
    rates, behind = _rates_and_share_behind(learned)
    length = behind * rates.sum() / max(rates.max(), 1e-300)
    return float(1000 / length) if length > 0 else np.nan


def _rates_and_share_behind(learned: xr.DataTree) -> tuple[np.ndarray, float]:
    """Return the learning rates, and how far the average is behind the end, as a share of the way that they make."""
    history = learned["learning"].dataset
    rates: Any = history["learning_rate"].values if "learning_rate" in history else np.ones(history.sizes["iteration"])
    return rates, share_behind(rates, int(learned.attrs.get("averaging_power", 0)))
