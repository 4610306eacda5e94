"""The public function that diagnoses draws or a learning run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched, machine_behind, name_of_run, watch_draws
from pymc_rbm.diagnostics.conditioned import rows_apart, watch_rows
from pymc_rbm.diagnostics.examine import examine
from pymc_rbm.diagnostics.laddered_draws import are_laddered, judge_laddered
from pymc_rbm.diagnostics.learning_run import DATA_PROBES, diagnose_run
from pymc_rbm.diagnostics.row_examination import examine_rows
from pymc_rbm.diagnostics.verdict import NOT_MIXED, UNKNOWN, Diagnosis, Finding
from pymc_rbm.diagnostics.weights import are_weights, diagnose_weights
from pymc_rbm.machine.records import in_order
from pymc_rbm.machine.validation import check_pair, normalisable_machine
from pymc_rbm.support.arguments import generator

__all__ = ["diagnose"]

ROWS_APART = Finding(
    UNKNOWN,
    "The chains of each row agree, but chains of different rows do not: either rows have machines of their own "
    "(covariates, observed units), or each row is in a mode of its own.",
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

    Draws along a ladder have probes that swap along another one, made for them, because plain chains would stay in
    modes that the draws visit rightly. Where these do not all become new ones from its bottom twice, nothing can be
    told from them. The report gives the weights of two groups, where the draws are two groups along one of
    these projections, with their Monte Carlo error, and how often chains were renewed from the bottom.

    Draws of a posterior over weights, with the model as ``target``, are compared in statistics that do not change when
    hidden units change places or signs (`invariants`), and in the model's other parameters that are numbers. R-hat
    of W itself is large although nothing is wrong, until `relabel` has brought units into one order. There are no
    probes for weights: "mixed" then means that R-hat, ESS and divergences say nothing against the draws.

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
    exact, in the end at least, no particles drove the run, and neither is asked.

    Failures of a learning run that are known by name are in ``.failures``, and first in the report, each with what was
    seen, what it means, and a remedy (`Diagnosis` has the list). They agree with the verdicts: those of learning are
    not named where it has finished. "Particles lag" where functionals change as the particles run on, or where they are
    behind the last moves of the parameters by more nats a row than the rise that matters, beyond Monte Carlo error.
    With ``probes`` 128 chains from random starts and 32 from the data run as long as the particles did (256 to 4,096
    sweeps). "Learned out of equilibrium" where the former come near the data and leave them again [2]_, by a tenth of
    the squared correlations of the data and beyond chance. Where chains stay in modes, these are weighed in data,
    particles and machine, exactly or along a ladder. Runs with ``method="ptt"`` go on along their ladder, those with
    ``method="pt"`` along one of temperatures where plain chains stay in modes.

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
    .. [2] Decelle, A., Furtlehner, C., Seoane, B. (2021). Equilibrium and non-equilibrium regimes in the learning of
       restricted Boltzmann machines. NeurIPS 34.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> two_modes = pmr.boltzmann(np.where(np.eye(8), 0.0, 1.0), np.zeros(8), pmr.Spin())
    >>> draws = pmr.sample_gibbs(two_modes, draws=500, random_seed=1, progressbar=False)
    >>> found = pmr.diagnose(draws, random_seed=1, progressbar=False)
    >>> found.verdict, len(found.reasons) > 0, len(found.advice) > 0
    ('not mixed', True, True)
    """
    if not isinstance(idata, xr.DataTree):
        raise TypeError(
            "Expected a DataTree from pm.sample, pymc_rbm.sample_gibbs or pymc_rbm.fit, got "
            f"{type(idata).__name__}. Pass what one of these returned."
        )
    is_run = "learning" in idata and "data" in idata
    if not is_run and "posterior" not in idata:
        raise ValueError(
            f"Expected draws (a group 'posterior') or what fit returned, got the groups {sorted(idata.children)}."
        )
    rng = generator(random_seed)
    if not is_run and learned is None and are_weights(idata, target, name):
        return diagnose_weights(idata, target, name)
    machine = machine_behind(idata, target, learned, name)
    if machine is not None:
        idata, learned = (in_order(x, machine.labels) for x in (idata, learned))
    if is_run:
        machine = None if machine is None else normalisable_machine(check_pair(machine))
        return diagnose_run(idata, machine, name_of_run(idata, name), probes, rng, progressbar)
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
