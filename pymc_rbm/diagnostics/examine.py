"""Examine chains: measure functionals, count units that never change, run probes, and say what follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched
from pymc_rbm.diagnostics.probes import ProbeResult, run_probes
from pymc_rbm.diagnostics.verdict import (
    LADDER_MISSES,
    LONGER,
    MORE_LIFTS,
    NOT_MIXED,
    SLOW,
    UNKNOWN,
    Finding,
    judge_chains,
    judge_probes,
    judge_units,
)
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.sampling.observables import SATURATED, chunks
from pymc_rbm.sampling.sweep import sweep
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.convergence import FEW_DRAWS, cautious, columns, convergence, count_units
from pymc_rbm.support.modes import by_kernels
from pymc_rbm.units.binary import Bernoulli

__all__ = ["STAYING_PROBES", "activity", "examine"]

ALONG_A_LADDER = {LONGER: MORE_LIFTS, SLOW: LADDER_MISSES}
"""For each advice on chains that do not swap along a ladder, the advice on chains that do."""

WITHOUT_MACHINE = Finding(
    UNKNOWN,
    "Chains that agree may share a mode, and draws alone cannot show it.",
    "Pass the machine: diagnose(draws, model, learned=learned), or call it within `with pmr.generative(...)`.",
)
STAYING_PROBES = Finding(
    UNKNOWN,
    "Probes (chains from other starts) swap along a ladder of their own, but did not all become new ones from its "
    "bottom twice: where they stay says nothing about the draws.",
    "Compare the weights of modes with those of another seed: pmr.sample_gibbs(method='pt', random_seed=…).",
)
WITHOUT_PROBES = Finding(UNKNOWN, "No probes were run: chains that agree may share a mode.", "Pass probes=True.")


def examine(
    watched: Watched,
    probes: bool,
    rng: np.random.Generator,
    progressbar: bool,
    extra: dict[str, np.ndarray] | None = None,
    among: int = 1,
) -> tuple[list[Finding], xr.Dataset]:
    """Return findings and measures of chains, their units and, unless they have failed already, their probes.

    Parameters
    ----------
    watched : Watched
    probes : bool
        Whether to run probes.
    rng : Generator
    progressbar : bool
    extra : dict, optional
        Further starts of probes, by kind.
    among : int
        How many machines are examined, among which the chance of a false alarm is shared.
    """
    table = convergence(watched.functionals, among)
    if watched.sweeps is not None:
        table["autocorrelation_sweeps"] = table["autocorrelation"] * watched.sweeps
    chains, draws = next(iter(watched.functionals.values())).shape[:2]
    units, still = _units(watched, table, rng)
    findings = [*judge_chains(table, chains, draws), *judge_units(units, still, draws)]
    measures = table.assign({key: ((), x) for key, x in units.items()})
    if watched.machine is None or watched.last is None:
        findings.append(WITHOUT_MACHINE)
    elif not probes:
        findings.append(WITHOUT_PROBES)
    elif draws >= FEW_DRAWS and all(finding.verdict != NOT_MIXED for finding in findings):
        result = _probe(watched.machine, watched, watched.last, table, rng, extra, progressbar, among)
        found = judge_probes(result, watched.laddered)
        findings += [STAYING_PROBES if x.verdict == NOT_MIXED and not result.renewed else x for x in found]
        measures = measures.assign(_probe_measures(result))
    if watched.laddered:
        measures.attrs["moves"] = "lifts"
        findings = [x._replace(advice=ALONG_A_LADDER[x.advice]) if x.advice in ALONG_A_LADDER else x for x in findings]
    return findings, measures


def _probe(
    machine: Machine,
    watched: Watched,
    last: np.ndarray,
    table: xr.Dataset,
    rng: np.random.Generator,
    extra: dict[str, np.ndarray] | None,
    progressbar: bool,
    among: int,
) -> ProbeResult:
    times = np.fmax(1, np.fmax(table["autocorrelation"].values, table["autocorrelation_within"].values))
    sizes = [x.size for x in columns(watched.functionals).values()]
    tau = {str(key): cautious(t, n) for key, t, n in zip(table.functional.values, times, sizes, strict=True)}
    states = last if watched.states is None else watched.states.reshape(-1, watched.states.shape[-1])
    seen = watched.functionals, states, watched.sweeps or 1, tau
    return run_probes(machine, *seen, rng, extra, progressbar, among, watched.laddered)


def _probe_measures(result: ProbeResult) -> dict[str, Any]:
    return {
        "probe_rhat": ("functional", list(result.rhat.values())),
        "probe_rhat_by_chance": ("functional", list(result.rhat_by_chance.values())),
        "probe_away": ("probe", result.away),
        "probe_kind": ("probe", result.kinds),
        "probe_sweeps": ((), result.sweeps),
        "probe_mode_weight_at_most": ((), result.weight),
    }


def _units(watched: Watched, table: xr.Dataset, rng: np.random.Generator) -> tuple[dict[str, float], int]:
    """Return counts of units that never change, whether the machine explains them, and the number of still chains."""
    still = np.all([np.ptp(x, axis=1) == 0 for x in columns(watched.functionals).values()], axis=0)
    if watched.states is not None:
        still = np.ptp(watched.states, axis=1).max(-1) == 0
    n_still = 0 if still.all() else int(still.sum())
    if watched.states is None:
        return {}, n_still
    low, high = watched.states.min(1), watched.states.max(1)
    unit = Bernoulli() if watched.machine is None else watched.machine.layers[VISIBLE].unit
    counts = count_units(unit.level(low), unit.level(high))
    found: dict[str, float] = {f"visible_{key}": n for key, n in counts.items()}
    if watched.machine is not None:
        own = activity(watched.machine, watched.states, rng)
        if "hidden_low" in own:
            hidden = count_units(own["hidden_low"], own["hidden_high"], SATURATED)
            found |= {f"hidden_{key}": n for key, n in hidden.items()}
            found["hidden_saturated_share"] = float(own["saturated"])
        # This is the machine's own probability that a unit has another value than it always had (exact for two values,
        # a lower bound for more), times the effective number of draws.
        other = np.abs(unit.level(own["visible_expected"]) - unit.level(low.min(0)))
        constant = np.ptp(np.concatenate([low, high]), axis=0) == 0
        effective = table["ess_bulk"].min().fillna(low.shape[0] * watched.states.shape[1]).item()
        found["visible_unexplained"] = float((other * constant).max() * effective)
    return found, n_still


def activity(machine: Machine, v: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return expected values and ranges of the units, by the machine, over states of shape (chain, draw, visible).

    Returns
    -------
    dict
        ``visible_expected`` (visible,): mean of E[v_i | h] with h drawn given each state, which is what the mean over
        draws must be if the states are draws of this machine. ``hidden_low``, ``hidden_high`` (chain, hidden): the
        range over draws of the level of E[h_j | v] between its extremes (`Unit.level`), for binary units the
        probability of 1. ``saturated``: the share of (draw, hidden unit) pairs where it is within .01 of 0 or 1.
        Without a hidden layer the expectation is that of each unit given all others, and the rest is missing.
    """
    evaluate = _activity_function(machine.template)
    low, high = [], []
    expected, saturated, count = np.zeros(v.shape[-1]), 0, 0
    for chain in v:
        ranges = []
        for part in chunks(chain, machine):
            rng, total, *hidden = evaluate(rng, part, *machine.parameters)
            expected, count = expected + total, count + len(part)
            if hidden:
                saturated = saturated + hidden[2]
                ranges.append(hidden[:2])
        if ranges:
            low.append(np.min([x for x, _ in ranges], axis=0))
            high.append(np.max([x for _, x in ranges], axis=0))
    found = {"visible_expected": expected / count}
    if not low:
        return found
    share = np.asarray(saturated / (count * low[0].size))
    return found | {"hidden_low": np.array(low), "hidden_high": np.array(high), "saturated": share}


@remembered(64)
def _activity_function(template: Machine):
    """Compile (rng, v, parameters…) -> rng, sum of p(v | h), least and most p(h | v) over rows, number saturated."""
    machine, inputs = template.symbolic()
    rng, v = pt.random.rng("rng"), pt.matrix(dtype=template.layers[VISIBLE].unit.dtype)
    if len(machine.layers) == 1:
        return pytensor.function([rng, v, *inputs], [rng, machine.mean(VISIBLE, [v]).sum(0)])
    (_, h), next_rng = sweep(machine, [v, None], rng, clamped=[True, None])
    p = machine.layers[HIDDEN].unit.level(machine.mean(HIDDEN, [v, None]))
    extreme = pt.or_(p < SATURATED, p > 1 - SATURATED).sum()
    expected = machine.mean(VISIBLE, [None, h]).sum(0)
    return by_kernels([rng, v, *inputs], [next_rng, expected, p.min(0), p.max(0), extreme])
