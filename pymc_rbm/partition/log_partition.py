"""Find log Z as a number: exactly, by enumeration, or by estimates that check each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.door import data_of, whole
from pymc_rbm.machine.enumeration import (
    sizes_of,
)
from pymc_rbm.machine.given import by_draw, posterior_of
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.records import in_order
from pymc_rbm.machine.spellings import by_keyword
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.machine.validation import normalisable_machine, visible_rows
from pymc_rbm.partition.ais import Effort, ais, prepared, reverse_ais
from pymc_rbm.partition.along import recorded_along
from pymc_rbm.partition.compare import compared
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.exact import known_parts, log_z
from pymc_rbm.partition.path_graphs import walkable
from pymc_rbm.partition.tempering import tempering
from pymc_rbm.support.arguments import check_back_end, finite_number, generator, one_of, whole_number
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.work import Work

__all__ = ["log_partition"]

METHODS = ("auto", "exact", "ais", "reverse_ais", "tempering", "compare", "ladder")
BYTES_OF_UNIT, BYTES_OF_PARTICLE, BYTES_OF_TEMPERATURE = 2, 200, 100
"""Bytes that annealing needs for a unit's state and its copy, a particle's log-weight, and a temperature's moments."""


@by_keyword("method", after=2)
def log_partition(
    target: Any = None,
    learned: Any = None,
    *,
    method: str = "auto",
    particles: int = 100,
    temperatures: int | None = None,
    target_error: float = 0.05,
    budget: int = 1_000_000,
    base_mean: Any = None,
    data: Any = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> LogPartitionEstimate:
    """Compute or estimate log Z, the log of a machine's partition function, with its error.

    Parameters
    ----------
    target : Machine, RBM variable (``RBM.dist(...)`` or a model's), PyMC model, or what `fit` returned
        Default: the model on the context stack. A model must contain exactly one machine.
    learned : DataTree, optional
        What `fit` returned; its ``parameters`` stand in for the model's random variables. Or a dict of values by name,
        as ``pm.find_MAP`` returns it; or a posterior over them: log Z is then found exactly for every draw, as a
        DataArray (chain, draw).
    method : {"auto", "exact", "ais", "reverse_ais", "tempering", "compare", "ladder"}
        - "exact" enumerates the smaller layer, up to 2²⁵ states, or integrates where all units are Gaussian; a machine
          that falls apart into several, which are not coupled to each other, is summed one by one.
        - "ais" is annealed importance sampling from a base of independent units.
        - "reverse_ais" anneals in the other direction, from ``data``, or without it from the ends of a forward run.
        - "tempering" is parallel tempering with bridge sampling between neighbouring temperatures.
        - "compare" runs "ais" and "tempering" with growing work until they agree and meet the target error, or the
          budget is used up, which the report then says.
        - "ladder" is bridge sampling along the machines that learning came through: what `fit` found with
          ``method="ptt"``, at no cost. It knows of no mode to which no particle came (see the Notes).
        - "auto" is "exact" up to 2²⁰ states, "ais" where ``temperatures`` is given, else "compare". Where ``learned``
          has the estimate of "ladder", that stands in for "tempering" if both agree and meet the target error.
    particles : int, default 100
        Number of annealing runs, forward and in reverse.
    temperatures : int, optional
        Number of inverse temperatures, 0 and 1 included. Default: as many as ``target_error`` needs within ``budget``;
        for "tempering" about one a unit of thermodynamic length. A pilot run decides where they lie.
    target_error : float, default 0.05
        Standard error to aim at, in nats.
    budget : int, default 1,000,000
        At most about this many sweeps of a chain (a sweep of 100 particles counts 100), where ``temperatures`` is not
        given. Annealing takes at most ten million temperatures of it.
    base_mean : array_like, shape (visible,), optional
        Means, strictly between 0 and 1 for binary units, of the base's visible units. Default: the means of the data in
        ``learned`` or ``data``; without data, the means of the machine's own chains from dispersed starts.
    data : array_like, shape (rows, visible), optional
        Rows that are likely under the machine, such as its data. They start the reverse annealing.
        Default: the rows that ``learned`` holds, if any (for "reverse_ais": only if given here).
    random_seed : int or Generator, optional
    progressbar : bool, default True
        Show a bar for work of more than two seconds.

    Returns
    -------
    LogPartitionEstimate
        ``.estimate`` in nats, ``.standard_error``, ``.interval``, ``.reliable`` with ``.reasons``, ``.diagnostics``,
        ``.plot()``.

    Raises
    ------
    IntractableError
        "exact" was asked for and no layer has at most 2²⁵ states.
    ValueError
        An argument is out of range, a parameter is not finite, or the machine cannot be normalised.
    MemoryError
        Before any work, if so many particles need more memory than there is.
    KeyboardInterrupt
        If Ctrl-C comes before any particle has started, or in a computation without particles. Later, the result holds
        the particles finished so far, or all of them after a few last steps, and says so.

    Notes
    -----
    *Which side.* "ais" is unbiased for Z, so by Jensen's inequality its log Z is too small in expectation (a
    stochastic lower bound) and a log-likelihood made with it too high. "reverse_ais" from exact draws of the machine
    is unbiased for 1/Z: its log Z is too large in expectation, a log-likelihood made with it too low. The ends of a
    forward run are only nearly such draws. From data rows it is the mean over rows of -F(v) - log u(v), where u(v) is
    unbiased for the probability p_ann(v) that annealing ends in v: the log Z that makes the mean log-likelihood a
    stochastic lower bound of that of the *annealing* model, to which the machine's tends as temperatures are added.
    Between them forward and reverse bracket log Z. Bridge sampling is biased in neither direction to first order.

    *The error.* For "ais" it is a jackknife over particles, which are independent, and in quadrature so much that half
    of the interval is at least what one more particle would change, of the weight that a particle would have in the
    machine's own states that the check below finds: a mode that few particles come to. For "tempering" it is one over
    ten ensembles, times R-hat (of the energies of the machine, and of what each draw says of log Z), with Student's t.
    Replicas forget their starts at the base only: what comes before is dropped, three times as many iterations as half
    of them need to get there, as far as half of the draws are left; so are draws that still move. Fewer than 50 round
    trips from the base to the machine and back, of all ensembles together, are not reliable. Where log-weights have a
    variance of σ², the weights' relative variance is near exp(σ²) - 1 and their sample misses part of it once σ²
    exceeds log(particles): the standard error then runs small. The report says so by the number of effective particles
    and the tail index of the weights.

    *What no error bar sees.* Weights say nothing about where no particle went. Annealing is therefore compared
    with states that it did not make: chains of the machine itself from dispersed starts, and data rows. If reverse
    annealing says that forward annealing hardly goes there, the result is not reliable. A mode that is in none of them
    stays unseen. The ladder of learning has no such check: of mushrooms with 16 hidden units it was 1.8 nats too low.

    References
    ----------
    .. [1] Neal, R. M. (2001). Annealed importance sampling. Statistics and Computing 11, 125-139.
    .. [2] Salakhutdinov, R., Murray, I. (2008). On the quantitative analysis of deep belief networks. ICML.
    .. [3] Burda, Y., Grosse, R. B., Salakhutdinov, R. (2015). Accurate and conservative estimates of MRF log-likelihood
       using reverse annealing. AISTATS.
    .. [4] Shirts, M. R., Chodera, J. D. (2008). Statistically optimal analysis of samples from multiple equilibrium
       states. Journal of Chemical Physics 129, 124105.
    .. [5] Syed, S., Bouchard-Côté, A., Deligiannidis, G., Doucet, A. (2022). Non-reversible parallel tempering: a
       scalable highly parallel MCMC scheme. JRSS B 84, 321-350.
    .. [6] Vehtari, A., Simpson, D., Gelman, A., Yao, Y., Gabry, J. (2024). Pareto smoothed importance sampling. JMLR
       25.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> rng = np.random.default_rng(1)
    >>> machine = pmr.restricted(rng.normal(0, 0.5, (12, 10)), np.zeros(12), np.zeros(10))
    >>> exact = pmr.log_partition(machine)
    >>> annealed = pmr.log_partition(machine, method="ais", temperatures=500, random_seed=1, progressbar=False)
    >>> exact.method, bool(abs(annealed.estimate - exact.estimate) < 4 * annealed.standard_error)
    ('exact', True)
    """
    one_of("method", method, METHODS)
    finite_number("target_error", target_error, 0, " of nats")
    rng = generator(random_seed)
    effort = Effort(
        whole_number("particles", particles, 2),
        None if temperatures is None else whole_number("temperatures", temperatures, 2),
        float(target_error),
        whole_number("budget", budget, 1000),
    )
    if posterior_of(learned) is not None:
        return _of_draws(target, posterior_of(learned), method, progressbar)
    given = machine_of(target, learned)
    machine = normalisable_machine(given)
    given_rows = None if data is None else visible_rows(machine, data, labels_of(target, learned))
    if learned is None and isinstance(target, xr.DataTree):
        learned = target
    learned = in_order(learned, given.labels)
    if base_mean is not None:
        means = data_of(base_mean, machine.layers[0], labels_of(target, learned), "base_mean", ndim=None, states=False)
        # Every method refuses means that do not fit.
        base_mean = _base_mean(machine, whole(means, "base_mean", "Give all of them."), None, None)
    parts = known_parts(machine, method)
    recorded = None
    if not parts:
        bytes_of_particle = sum(n or 0 for n in sizes_of(machine)) * BYTES_OF_UNIT + BYTES_OF_PARTICLE
        along = "" if effort.temperatures is None else f" along {effort.temperatures:,} temperatures"
        check_memory(
            effort.particles * bytes_of_particle + (effort.temperatures or 0) * BYTES_OF_TEMPERATURE,
            f"Annealing of {effort.particles:,} particles{along}",
            "Take fewer particles with more temperatures, or fewer temperatures with more particles.",
        )
        recorded = recorded_along(learned, machine) if method in ("auto", "ladder") else None
        if method == "ladder" and recorded is None:
            raise ValueError(
                "method='ladder' needs what pymc_rbm.fit(method='ptt') returned with this machine, but learned has "
                "no ladder to it. Pass that result as learned=, or leave method out."
            )
        if method == "ladder" and recorded is not None:
            return recorded
    with Work(progressbar) as work:
        if parts:
            return LogPartitionEstimate(sum(log_z(part, work, len(parts) > 1) for part in parts), 0.0, "exact")
        rows = _learned_rows(machine, learned) if given_rows is None else given_rows
        mean = _base_mean(machine, base_mean, learned, rows if data is not None else None)
        check_back_end()
        start = prepared(walkable(given), mean, rows, rng, work)
        if method == "reverse_ais":
            return reverse_ais(start, effort, rows if data is not None else None, rng, work)
        if method == "tempering":
            return tempering(start, effort, rng, work)
        if method == "ais" or (method == "auto" and effort.temperatures is not None):
            return ais(start, effort, rng, work)
        return compared(start, effort, rng, work, recorded)


def _of_draws(target: Any, posterior: Any, method: str, progressbar: bool) -> Any:
    """Return log Z of every draw of a posterior, where it is quick to enumerate."""

    def exact(machine: Machine) -> float:
        parts = known_parts(normalisable_machine(machine), "auto") if method in ("auto", "exact") else []
        if not parts:
            raise ValueError(
                "For a posterior log Z is found exactly for every draw, which needs one side of at most 20 binary "
                "units and method='auto' or 'exact'. For an estimate take one draw: "
                "learned=idata['posterior'].dataset.isel(chain=0, draw=0)."
            )
        if work.interrupted:
            raise KeyboardInterrupt
        return sum(log_z(part, work, len(parts) > 1) for part in parts)

    with Work(progressbar) as work:
        return by_draw(exact, target, posterior).rename("log_z")


def _learned_rows(machine: Machine, learned: Any) -> np.ndarray | None:
    found = _of_learned(learned, "_rows")
    return None if found is None else visible_rows(machine, found, name="the array of rows in `learned`")


def _of_learned(learned: Any, ending: str) -> Any:
    """Return the only variable of ``learned["data"]`` whose name has the ending, or None."""
    group = learned["data"].data_vars if isinstance(learned, xr.DataTree) and "data" in learned else {}
    found = [x for name, x in group.items() if str(name).endswith(ending)]
    return found[0] if len(found) == 1 else None


def _base_mean(machine: Machine, base_mean: Any, learned: Any, rows: np.ndarray | None) -> np.ndarray | None:
    if base_mean is None:
        base_mean = _of_learned(learned, "_mean")
    layer = machine.layers[0]
    if base_mean is None and rows is not None:
        base_mean = (rows.sum(0) + layer.unit.middle) / (len(rows) + 1)
    if base_mean is None:
        return None
    base_mean = np.asarray(base_mean, dtype="float64")
    if base_mean.shape != np.shape(layer.bias):
        raise ValueError(
            f"base_mean must have the shape of the visible layer, {np.shape(layer.bias)}, got shape "
            f"{base_mean.shape}. Give one mean for each visible unit."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        certain = ~np.isfinite(layer.unit.bias_of_mean(base_mean))
    if certain.any():
        raise ValueError(
            f"base_mean must lie strictly between the units' extremes, but {certain.sum()} entries do not. Shrink "
            "the means towards the middle: for means of n rows of 0 and 1, to (n·mean + 0.5)/(n + 1)."
        )
    return base_mean
