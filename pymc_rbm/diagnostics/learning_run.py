"""Diagnose a learning run by chains from its particles and by what is left to learn, and name its failures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.certificates import Certificates, Examined
from pymc_rbm.diagnostics.chains import Watched
from pymc_rbm.diagnostics.examine import STAYING_PROBES, examine
from pymc_rbm.diagnostics.excursions import MOST
from pymc_rbm.diagnostics.ladder_health import judge_ladder
from pymc_rbm.diagnostics.lag import lag, last_moves
from pymc_rbm.diagnostics.particles import judge_particles
from pymc_rbm.diagnostics.progress.finishing import measured
from pymc_rbm.diagnostics.progress.sampled_rise import Draw, drawing
from pymc_rbm.diagnostics.progress.verdict import judge_ends, judge_gradient, judge_learning, judge_reach
from pymc_rbm.diagnostics.running_on import (
    RUN_ON_CHAINS,
    RUN_ON_DRAWS,
    compare,
    data_distance,
    independent_draws,
    run_on,
)
from pymc_rbm.diagnostics.thresholds import SHARE_OF_ERROR
from pymc_rbm.diagnostics.verdict import LONGER, MORE_LIFTS, NOT_MIXED, UNKNOWN, Diagnosis, Finding
from pymc_rbm.learning.growing import ENDS
from pymc_rbm.machine.enumeration import is_enumerable
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.normalisable import is_gaussian
from pymc_rbm.support.convergence import convergence

__all__ = ["DATA_PROBES", "diagnose_run"]

DATA_PROBES = 8
DRAW = (
    "These chains of the learned machine are too short to judge it. Diagnose longer ones: "
    "pmr.diagnose(pmr.sample_gibbs(learned, sweeps=…)), with method='pt' where there are modes."
)
EXACT, CLIMB = "exact", ("converged", "left_to_gain")  # the method without chance, and what it records


@dataclass
class _Particles:
    """What the particles of a learning run show or, if it has none, chains that start at the data."""

    subject: str
    findings: list[Finding]
    measures: xr.Dataset
    draw: Draw | None
    states: np.ndarray | None = None
    watched: Watched | None = None
    failed: bool = False
    changed: list[str] = field(default_factory=list)
    data_away: list[str] = field(default_factory=list)
    scalars: dict[str, float] = field(default_factory=dict)

    @property
    def laddered(self) -> bool:
        """Whether the chains swap along a ladder."""
        return self.watched is not None and self.watched.laddered

    @property
    def draws(self) -> np.ndarray | None:
        """States of the chains, shape (draws, visible)."""
        states = None if self.watched is None else self.watched.states
        return None if states is None else states.reshape(-1, states.shape[-1])


def diagnose_run(
    learned: xr.DataTree, machine: Machine | None, name: str, probes: bool, rng: np.random.Generator, progressbar: bool
) -> Diagnosis:
    """Diagnose a learning run by chains from its particles at the last parameters, and by what is left to learn."""
    if machine is None:
        raise ValueError(
            "This learning run has no record of the machine's weights and biases. Pass the model that "
            "was fitted as `target`."
        )
    of_chains = _of_particles if "particle_states" in learned else _without_particles
    seen = of_chains(learned, machine, name, probes, rng, progressbar)
    scalars = _gradient(learned, name) | seen.scalars
    learning, figures = _examine_learning(learned, name, machine, seen.draw, seen.data_away, scalars, rng)
    scalars |= figures
    matters = scalars.get("rise_that_matters", SHARE_OF_ERROR / 2)  # that of the largest statistical error
    findings, of_lag = _of_lag(learned, machine, name, seen, matters)
    findings = seen.findings + findings
    measures = seen.measures.assign({key: ((), x) for key, x in (scalars | of_lag).items()})
    if f"{name}_rows" in learned["data"]:
        stuck = seen.states is None or any(x.verdict == NOT_MIXED or x is STAYING_PROBES for x in findings)
        led = seen.states if _led(learned) else None
        gained, verdict = scalars.get("gained", np.nan), learning[0].verdict
        run = Examined(learned, name, machine, led, seen.draws, seen.laddered, stuck, verdict, matters, gained)
        found = Certificates(run, rng)
        if probes:
            found.look_elsewhere(RUN_ON_DRAWS * (seen.watched.sweeps or 1) if seen.watched else MOST, progressbar)
        found.look_at_units()
        findings, learning = findings + found.chains, learning + found.learning
        measures = measures.assign(found.figures)
    return Diagnosis.of(seen.subject, findings, measures, learning)


def _without_particles(
    learned: xr.DataTree, machine: Machine, name: str, probes: bool, rng: np.random.Generator, progressbar: bool
) -> _Particles:
    rows = learned["data"].dataset.get(f"{name}_rows")
    reason = f"The method {learned.attrs.get('method', '')!r} has no persistent chains to diagnose."
    finding = Finding(UNKNOWN, reason, "Draw from what was learned and diagnose the draws: pmr.sample_gibbs.")
    draw = None if rows is None else _drawing_from(machine, name, rows.values, rng, progressbar)
    return _Particles(f"{name}, a learning run without particles", [finding], convergence({}), draw)


def _of_particles(
    learned: xr.DataTree, machine: Machine, name: str, probes: bool, rng: np.random.Generator, progressbar: bool
) -> _Particles:
    rows, states = learned["data"].dataset.get(f"{name}_rows"), np.asarray(learned["particle_states"][name])
    watched, before = run_on(machine, name, states, rng, progressbar, learned)
    extra = {} if rows is None else {"data": rng.permutation(rows.values)[:DATA_PROBES]}
    findings, measures = examine(watched, probes, rng, progressbar, extra)
    findings = [x._replace(advice=DRAW) if x.advice in (LONGER, MORE_LIFTS) else x for x in findings]
    failed = any(finding.verdict == NOT_MIXED for finding in findings)
    after = independent_draws(watched, measures)
    changed, figures = compare(before, after, "particle_lag")
    data_away, more = ([], {}) if rows is None else data_distance(machine, rows.values, after)
    subject = (
        f"{name}, a learning run with {len(states)} particles; {min(len(states), RUN_ON_CHAINS)} of them run on at the "
        f"last parameters for {RUN_ON_DRAWS} draws, {watched.sweeps} "
        f"{'lift' if watched.laddered else 'sweep'}{'s' * (watched.sweeps != 1)} a draw"
    )
    draw = None if failed or STAYING_PROBES in findings else drawing(watched, measures, rng)
    of_ladder, scalars = judge_ladder(learned, name)
    if not watched.laddered:  # its own renewals are counted
        scalars["renewals"] = _renewals(learned, measures)
    measures = measures.assign(figures | more)
    findings = findings + of_ladder
    return _Particles(subject, findings, measures, draw, states, watched, failed, changed, data_away, scalars)


def _led(learned: xr.DataTree) -> bool:
    """Return whether particles, and not an exact gradient, drove the run to its end."""
    return learned.attrs.get("method") != EXACT and learned.attrs.get("iterate") != "climbed"


def _of_lag(
    learned: xr.DataTree, machine: Machine, name: str, seen: _Particles, matters: float
) -> tuple[list[Finding], dict[str, float]]:
    """Return whether the particles have followed the parameters; nothing where gradients did not come from them."""
    if seen.states is None or seen.watched is None or not _led(learned):
        return [], {}
    moves, fresh = last_moves(learned, name, machine), seen.watched.states
    settled = None if fresh is None else fresh[:, RUN_ON_DRAWS // 2 :]
    behind = None if moves is None or settled is None else lag(machine, moves, seen.states, settled)
    found = judge_particles(seen.changed, behind, matters, seen.failed, seen.scalars.get("renewals", np.inf))
    return found, {} if behind is None else behind.figures()


def _examine_learning(
    learned: xr.DataTree,
    name: str,
    machine: Machine,
    draw: Draw | None,
    data_away: list[str],
    scalars: dict[str, float],
    rng: np.random.Generator,
) -> tuple[list[Finding], dict[str, float]]:
    """Return findings about what is left to learn, and the figures behind them."""
    climb: dict[str, float] = {key: float(learned.attrs[key]) for key in CLIMB if key in learned.attrs}
    if f"{name}_rows" not in learned["data"]:
        return [
            Finding(UNKNOWN, "fit recorded no rows of the data, so that the machine cannot be compared with them.")
        ], climb
    progress = measured(learned, name, machine, draw, rng)
    found = judge_learning(progress, climb)
    if progress.rise is None:
        found += judge_gradient(scalars.get("gradient_ratio", np.nan))
    found += judge_ends(np.atleast_1d(learned.attrs.get(ENDS, [])).tolist(), found[0].verdict)
    return found + judge_reach(data_away, found[0].verdict), climb | progress.figures()


def _drawing_from(
    machine: Machine, name: str, rows: np.ndarray, rng: np.random.Generator, progressbar: bool
) -> Draw | None:
    """Return a function that draws from machines like this one, by chains from data; None if these disagree."""
    if is_enumerable(machine) or is_gaussian(machine):
        return None  # draws are not needed
    watched, _ = run_on(machine, name, rows[rng.integers(len(rows), size=RUN_ON_CHAINS)], rng, progressbar)
    return drawing(watched, convergence(watched.functionals), rng)


def _gradient(learned: xr.DataTree, name: str) -> dict[str, float]:
    """Return the gradient's size, its Monte Carlo error and their ratio, where `fit` recorded them."""
    if "gradient" not in learned:
        return {}
    norm, error = (float(learned["gradient"][f"{name}_gradient_{x}"]) for x in ("norm", "standard_error"))
    return {"gradient_norm": norm, "gradient_standard_error": error, "gradient_ratio": norm / error}


def _renewals(learned: xr.DataTree, measures: xr.Dataset) -> float:
    """Return how many autocorrelation times of the last machine learning took, in sweeps of each chain."""
    history = learned["learning"].dataset
    taken = history["sweeps"].sum() if "sweeps" in history else history.sizes["iteration"] * learned.attrs["sweeps"]
    return float(taken / np.fmax(1.0, measures["autocorrelation_sweeps"].max()))
