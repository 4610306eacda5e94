"""The public function that diagnoses draws or a learning run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched, machine_behind, name_of_run, watch_draws
from pymc_rbm.diagnostics.conditioned import rows_apart, watch_rows
from pymc_rbm.diagnostics.examine import examine
from pymc_rbm.diagnostics.ladder_health import judge_ladder
from pymc_rbm.diagnostics.laddered_draws import are_laddered, judge_laddered
from pymc_rbm.diagnostics.progress.finishing import measured
from pymc_rbm.diagnostics.progress.sampled_rise import Draw, drawing
from pymc_rbm.diagnostics.progress.verdict import judge_gradient, judge_learning, judge_reach
from pymc_rbm.diagnostics.row_examination import examine_rows
from pymc_rbm.diagnostics.thresholds import DATA_DISTANCE
from pymc_rbm.diagnostics.verdict import NOT_MIXED, UNKNOWN, Diagnosis, Finding, judge_particles
from pymc_rbm.machine.enumeration import is_tractable
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.records import in_order
from pymc_rbm.machine.validation import check_pair, normalisable_machine
from pymc_rbm.sampling.chains import run_chains
from pymc_rbm.sampling.observables import functionals, leading_directions
from pymc_rbm.support.arguments import generator
from pymc_rbm.support.convergence import ESS_PER_CHAIN, RHAT, columns, convergence, two_sample

__all__ = ["diagnose"]

RUN_ON_CHAINS, RUN_ON_DRAWS = 32, 200
RUN_ON_SWEEPS = 1, 4, 16, 64  # sweeps per draw, tried in turn until the chains agree
DATA_PROBES = 8
EXACT, CLIMB = "exact", ("converged", "left_to_gain")  # the method without chance, and what it records
ROWS_APART = Finding(
    UNKNOWN,
    "The chains of each row agree, but those of different rows do not: rows are machines of their own (covariates, "
    "observed units), or each row is in a mode of its own.",
    "Pass the model that was sampled as `target`, or the draws of one row with its machine.",
)


def diagnose(
    idata: xr.DataTree,
    target: Any = None,
    learned: xr.DataTree | None = None,
    *,
    name: str | None = None,
    probes: bool = True,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> Diagnosis:
    r"""Say whether chains mixed and, for a learning run, whether learning has finished.

    Chains are compared in continuous functionals of the visible state: the free energy, the mean activations of visible
    and hidden units, and the projections of v on the leading left singular vectors of W, by ArviZ's rank-normalised
    split R-hat and effective sample sizes. Units that never change are counted. Because chains that agree may share a
    mode, *probes* are run: chains of the same machine from starts that lead elsewhere if there is an elsewhere
    (complements and reflections of the draws, extreme, dispersed and tempered states, hidden units at values that the
    draws hardly have, rows of the data where ``learned`` has them), 20 autocorrelation times of burn-in and 20 of
    comparison. Where probes stay away from the draws, the draws are "not mixed", unless annealing in both directions
    shows that the probability of where the probes are is at most 1 %.

    Rows of a masked variable, draws by `inpaint` and rows whose biases differ are not draws of one machine. They are
    compared within a row, with the machine of its free units given the observed ones, and the verdict is that of the
    worst row. Draws of a model in which anything but hidden units depends on free units are refused.

    Of draws along a ladder the report gives the weights of two groups, where the draws are two groups along one of
    these projections, with their Monte Carlo error, and how often chains were renewed from the bottom.

    This is about states. For weights under NUTS R-hat is large although nothing is wrong, because hidden units can
    change places: `relabel` first.

    Parameters
    ----------
    idata : DataTree
        Draws of a `generative` model by ``pm.sample``, draws by `sample_gibbs` or `inpaint`, those of a masked
        variable, or what `fit` returned.
    target : Machine, RBM variable, model with one RBM, or what `fit` returned, optional
        The machine that was drawn from. Default: the one recorded in ``idata`` (`fit`, `sample_gibbs`), else in
        ``learned``, else that of the model on the context stack.
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables.
    name : str, optional
        Name of the visible variable, where there are several.
    probes : bool, default True
        Whether to run probes. Without them the verdict is at best "cannot tell".
    random_seed : int or Generator, optional
        For the probes. The same seed gives the same result.
    progressbar : bool, default True

    Returns
    -------
    Diagnosis
        ``.verdict``, ``.reasons``, ``.advice`` and all figures in ``.measures``; prints as a report, and is true where
        the verdict is "mixed". Chains (``.chains``) are "mixed" with R-hat up to 1.01, a bulk ESS of 400 [1]_ and
        probes that agree; "not mixed" with a disagreement beyond chance; all else is "cannot tell". Learning
        (``.learning``, None for draws) is "finished", "not finished" or "cannot tell". The report names the limits.

    Raises
    ------
    ValueError, TypeError
        Before any work, if ``idata`` holds neither draws nor a learning run, the machine does not fit, or draws are
        those of a posterior in which other terms depend on the units.

    Notes
    -----
    A learning run's own draws come from a machine that changes, so its particles are run on at the last parameters and
    these chains are diagnosed, with rows of the data among the starts of the probes. They are "mixed" only if moreover
    the particles were where the last machine is, and learning took ten autocorrelation times. Where the gradient was
    exact no particles drove the run, and neither is asked.

    Chains that mix say nothing about what was learned: those of independent units mix best. So the objective is climbed
    on from what was returned, on the rows that `fit` kept (of large tables some, with the gradient of all), with
    priors to second order: by L-BFGS on its exact value where log Z is a sum over at most 2¹⁶ states, or Gaussian. Else
    fresh draws predict the rise, by Newton's decrement, and measure it, by others than those that led up, where the
    chains mix. Learning has "finished" where the objective rises by no more than a hundredth of what learning gains
    over independent units, or a tenth of its statistical error; a machine that cannot
    describe the data has, too, and the report then says in which projections draws and data differ (two-sample
    Kolmogorov-Smirnov distances above .1 and what chance allows). It is a maximum nearby that counts: there may be
    others. Only where the machine is no better than independent units are other starts tried.

    The verdict can be wrong. Of machines that mix about one in a hundred is called "not mixed" for each kind of test. A
    mode that no probe finds, or that the functionals do not show, is missed: of the singular directions of W the first
    three are watched. Ctrl-C raises KeyboardInterrupt.

    References
    ----------
    .. [1] Vehtari, A., Gelman, A., Simpson, D., Carpenter, B., Bürkner, P.-C. (2021). Rank-normalization, folding, and
       localization: an improved R-hat for assessing convergence of MCMC. Bayesian Analysis 16, 667-718.
    """
    if not isinstance(idata, xr.DataTree):
        raise TypeError(
            f"Expected a DataTree from pm.sample, sample_gibbs or fit, got {type(idata).__name__}: pass that."
        )
    is_run = "learning" in idata and "data" in idata
    if not is_run and "posterior" not in idata:
        raise ValueError(
            f"Expected draws (a group 'posterior') or what fit returned, got the groups {sorted(idata.children)}."
        )
    rng = generator(random_seed)
    machine = machine_behind(idata, target, learned, name)
    if machine is not None:
        idata, learned = (in_order(x, machine.labels) for x in (idata, learned))
    if is_run:
        machine = None if machine is None else normalisable_machine(check_pair(machine))
        return _diagnose_run(idata, machine, name_of_run(idata, name), probes, rng, progressbar)
    rows = watch_rows(idata, machine, name, target)
    laddered = are_laddered(idata)
    if rows is not None:
        rows = [replace(row, laddered=laddered) for row in rows]
        draws = next(iter(rows[0].functionals.values())).shape[1]
        name, _, row = rows[0].name.partition(", ")
        shown = row if len(rows) == 1 else f"{len(rows)} rows, each a machine of its own"
        return Diagnosis.of(f"{name}, {shown}, {draws:,} draws a chain", *examine_rows(rows, probes, rng, progressbar))
    watched = replace(watch_draws(idata, machine, name), laddered=laddered)
    chains, draws = next(iter(watched.functionals.values())).shape[:2]
    what = "lift" if watched.laddered else "sweep"
    sweeps = "" if watched.sweeps is None else f", {watched.sweeps} {what}{'s' * (watched.sweeps > 1)} a draw"
    subject = f"{watched.name}, {chains} chains of {draws:,} draws{sweeps}"
    findings, measures = examine(watched, probes, rng, progressbar, _data_starts(learned, watched, rng))
    if laddered:
        of_ladder, figures = judge_laddered(idata, watched.functionals)
        findings, measures = findings + of_ladder, measures.assign(figures)
    if any(x.verdict == NOT_MIXED for x in findings) and rows_apart(idata, machine, name):
        findings = [ROWS_APART, *(x for x in findings if x.verdict != NOT_MIXED)]
    return Diagnosis.of(subject, findings, measures)


def _data_starts(learned: xr.DataTree | None, watched: Watched, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return rows of the data that the machine was learned from, as starts of probes."""
    rows = None if learned is None or "data" not in learned else learned["data"].dataset.get(f"{watched.name}_rows")
    if rows is None or watched.last is None or rows.shape[-1] != watched.last.shape[-1]:
        return {}
    return {"data": rng.permutation(rows.values)[:DATA_PROBES]}


def _diagnose_run(
    learned: xr.DataTree, machine: Machine | None, name: str, probes: bool, rng: np.random.Generator, progressbar: bool
) -> Diagnosis:
    """Diagnose a learning run by chains from its particles at the last parameters, and by what is left to learn."""
    if machine is None:
        raise ValueError("This learning run does not have the parameters of the machine: pass the model as `target`.")
    rows, method = learned["data"].dataset.get(f"{name}_rows"), learned.attrs.get("method", "")
    scalars, data_away = _gradient(learned, name), list[str]()
    if "particle_states" not in learned:
        reason = f"The method {method!r} has no persistent chains to diagnose."
        advice = "Draw from what was learned and diagnose the draws: pmr.sample_gibbs."
        findings, measures = [Finding(UNKNOWN, reason, advice)], convergence({})
        subject = f"{name}, a learning run without particles"
        draw = None if rows is None else _drawing_from(machine, name, rows.values, rng, progressbar)
    else:
        particles = np.asarray(learned["particle_states"][name])
        watched, before = _run_on(machine, name, particles, rng, progressbar)
        extra = {} if rows is None else {"data": rng.permutation(rows.values)[:DATA_PROBES]}
        findings, measures = examine(watched, probes, rng, progressbar, extra)
        failed = any(finding.verdict == NOT_MIXED for finding in findings)
        after = _independent(watched, measures)
        lagging, figures = _compare(before, after, "particle_lag")
        scalars["renewals"] = _renewals(learned, measures)
        if method != EXACT:  # there the gradient does not come from particles
            findings += judge_particles(lagging, failed, scalars["renewals"])
        if rows is not None:
            data_away, more = _data_distance(machine, rows.values, after)
            figures |= more
        measures = measures.assign(figures)
        subject = (
            f"{name}, a learning run with {len(particles)} particles; {min(len(particles), RUN_ON_CHAINS)} of them run "
            f"on at the last parameters for {RUN_ON_DRAWS} draws, {watched.sweeps} "
            f"sweep{'s' * (watched.sweeps != 1)} a draw"
        )
        draw = None if failed else drawing(watched, measures, rng)
        of_ladder, figures_of_ladder = judge_ladder(learned, name)
        findings, scalars = findings + of_ladder, scalars | figures_of_ladder
    learning, more_scalars = _examine_learning(learned, name, machine, draw, data_away, scalars, rng)
    measures = measures.assign({key: ((), x) for key, x in (scalars | more_scalars).items()})
    return Diagnosis.of(subject, findings, measures, learning)


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
        return [Finding(UNKNOWN, "No rows of the data were recorded, with which the machine could be compared.")], climb
    progress = measured(learned, name, machine, draw, rng)
    found = judge_learning(progress, climb)
    if progress.rise is None:
        found += judge_gradient(scalars.get("gradient_ratio", np.nan))
    return found + judge_reach(data_away, found[0].verdict), climb | progress.figures()


def _drawing_from(
    machine: Machine, name: str, rows: np.ndarray, rng: np.random.Generator, progressbar: bool
) -> Draw | None:
    """Return a function that draws from machines like this one, by chains from data; None if these disagree."""
    if is_tractable(machine):
        return None  # draws are not needed
    watched, _ = _run_on(machine, name, rows[rng.integers(len(rows), size=RUN_ON_CHAINS)], rng, progressbar)
    return drawing(watched, convergence(watched.functionals), rng)


def _data_distance(
    machine: Machine, rows: np.ndarray, draws: dict[str, np.ndarray]
) -> tuple[list[str], dict[str, Any]]:
    """Return the projections in which draws and data differ, and all figures."""
    projections = columns({"projection": (rows @ leading_directions(machine))[None]})
    return _compare({key: x[0] for key, x in projections.items()}, draws, "data_distance", DATA_DISTANCE)


def _run_on(
    machine: Machine, name: str, particles: np.ndarray, rng: np.random.Generator, progressbar: bool
) -> tuple[Watched, dict[str, np.ndarray]]:
    """Continue the particles as chains, with more and more sweeps a draw until they agree; return functionals, too."""
    before = {key: x[0] for key, x in columns(functionals(machine, particles[None])).items()}
    v = particles[rng.permutation(len(particles))[:RUN_ON_CHAINS]]
    for sweeps in RUN_ON_SWEEPS:
        kept, last = run_chains(machine, v, rng, RUN_ON_DRAWS, 0, sweeps, progressbar=progressbar)
        states = kept.pop("states")
        table = convergence(kept)
        if table["rhat"].max() <= RHAT and table["ess_bulk"].min() >= ESS_PER_CHAIN * len(v):
            break
    return Watched(name, machine, kept, states, last, sweeps), before


def _independent(watched: Watched, table: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the functionals at draws that are so far apart that they are nearly independent."""
    steps = np.ceil(table["autocorrelation"].fillna(1.0).values)
    return {
        key: x[:, :: int(min(step, RUN_ON_DRAWS))].ravel()
        for (key, x), step in zip(columns(watched.functionals).items(), steps, strict=True)
    }


def _compare(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], key: str, tolerated: float = 0.0
) -> tuple[list[str], dict[str, Any]]:
    """Compare two samples by functional; return the names that differ beyond chance and tolerance, and figures."""
    found = {name: two_sample(a[name], b[name], len(a)) for name in a}
    beyond = [name for name, (distance, by_chance) in found.items() if distance > max(by_chance, tolerated)]
    dim = f"{key}_functional"
    columns = np.reshape(list(found.values()), (-1, 2)).T
    figures: dict[str, Any] = {dim: list(found)}
    return beyond, figures | {key: (dim, columns[0]), f"{key}_by_chance": (dim, columns[1])}


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
