"""A model whose log Z is anchored can be sampled by NUTS, however large its machines."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.diagnostics.diagnose import diagnose
from pymc_rbm.diagnostics.verdict import Diagnosis
from pymc_rbm.distributions.lookup import machine_of_rv, named_machines
from pymc_rbm.machine.enumeration import is_tractable
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.targets import machine_of
from pymc_rbm.partition.log_partition import log_partition
from pymc_rbm.posteriors.anchor import Anchor
from pymc_rbm.posteriors.copies import LogZ, checked_model, chosen_machines, with_log_z
from pymc_rbm.sampling.chains import sample_gibbs
from pymc_rbm.support.arguments import finite_number, generator, whole_number
from pymc_rbm.support.reentrant import value_of

__all__ = ["anchored", "anchors_of", "drawn_anchor"]

CHAINS, PILOT, BURN_IN = 100, 300, 500
ENTRIES = 2**28
"""The most entries of draws at once."""
_anchors: WeakKeyDictionary[pm.Model, dict[str, Anchor]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Effort:
    """How many draws an anchor gets: the error to aim at, and the most draws, and carried draws, there may be."""

    target_error: float
    draws: int
    states: int
    progressbar: bool


def anchored(
    model: pm.Model,
    learned: Any,
    *,
    names: Any = None,
    target_error: float = 0.05,
    draws: int = 1_000_000,
    states: int = 2**14,
    log_z: Any = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> pm.Model:
    r"""Return the model with log Z of its large machines as a smooth function of the parameters, for ``pm.sample``.

    With draws of the machine that was learned, the *anchor* θ₀,

    .. math:: \log Z(θ) = \log Z(θ_0) + \log E_{θ_0} e^{F_{θ_0}(v) - F_θ(v)}

    is a deterministic, differentiable function of θ [1]_ [2]_, and NUTS draws weights from a posterior whose likelihood
    is the true one, not a pseudo-likelihood. Its error moves posterior means by about √(rows / draws) posterior
    standard deviations. `check_anchors` measures it after sampling; a posterior is to be believed after that only.

    Parameters
    ----------
    model : Model
        Machines may be of any kind with a free energy; their parameters any functions of the model's variables.
    learned : DataTree or dict
        What `fit` returned, or values by name, as ``pm.find_MAP`` returns them. The nearer it is to the posterior the
        better: the weights of the anchor's draws spread as the posterior is wide and far.
    names : str or sequence of str, optional
        The machines to anchor. Default: all whose log Z is not exact in the model.
    target_error : float, default 0.05
        How many posterior standard deviations means may be off, as the root of the mean square: ``rows /
        target_error**2`` independent draws.
    draws : int, default 1,000,000
        The most draws of an anchor, of 100 chains. A warning says where the target would need more.
    states : int, default 16,384
        The most draws that an evaluation goes through. (The gradient at the anchor comes from all.) Each evaluation of
        the log-density computes so many free energies and their gradient: 10 ms for 50 coupled units.
    log_z : float or LogPartitionEstimate, optional
        log Z of the anchor, where you know it and one machine is anchored. Default: by `log_partition`. It is a
        constant of the posterior, and matters for log-likelihoods only (``az.loo``).
    random_seed : int or Generator, optional
    progressbar : bool, default True

    Returns
    -------
    Model
        The same model, with the same names, dims and coords.

    Raises
    ------
    ValueError
        If log Z of all machines is exact already, biases differ by row, or chains of the anchor do not mix, neither
        by themselves nor along a ladder of temperatures: then there is no reliable anchor.
    TypeError
        If ``model`` is not a PyMC model.
    KeyboardInterrupt
        Ctrl-C: part of an anchor is none.

    Warns
    -----
    UserWarning
        If ``draws`` are too few for the target, or chains are too short to tell whether they mix.

    Notes
    -----
    Hidden units can change places (and, Spin ones, signs) without a change of the likelihood, so that R-hat of their
    weights says nothing; that of log-likelihoods and free energies does, and `relabel` aligns the draws.

    References
    ----------
    .. [1] Geyer, C. J., Thompson, E. A. (1992). Constrained Monte Carlo maximum likelihood for dependent data. JRSS B
       54, 657-699.
    .. [2] Geyer, C. J. (1994). On the convergence of Monte Carlo maximum likelihood calculations. JRSS B 56, 261-274.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> rows = np.random.default_rng(1).integers(0, 2, (50, 4))
    >>> with pm.Model() as model:
    ...     v = pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 1)), np.zeros(4), np.zeros(1), observed=rows)
    >>> near = pmr.anchored(model, {"W": np.zeros((4, 1))}, names="v", random_seed=1, progressbar=False)
    >>> [x.name for x in near.free_RVs]
    ['W']
    """
    checked_model(model, "anchored")
    effort = Effort(
        finite_number("target_error", target_error, 0),
        whole_number("draws", draws, 2),
        whole_number("states", states, 2),
        progressbar,
    )
    chosen, rng = _chosen(model, names), generator(random_seed)
    if log_z is not None and len(chosen) > 1:
        raise ValueError(f"log_z is that of one machine, but {sorted(chosen)} are anchored: name one by names=.")
    known = 0.0 if log_z is None else finite_number("log_z", getattr(log_z, "estimate", log_z))
    machines = {name: machine_of(rv, learned).numeric("float64") for name, rv in chosen.items()}
    found = {}
    for name, machine in machines.items():
        rows = int(value_of(pt.prod(chosen[name].shape[:-1])))
        anchor, warning = drawn_anchor(name, machine, rows, effort, rng)
        if warning:
            warnings.warn(warning, stacklevel=2)
        if log_z is None:
            known = log_partition(machine, random_seed=rng, progressbar=progressbar).estimate
        found[name] = anchor.at(known)
    new = with_log_z(model, {name: _of(anchor) for name, anchor in found.items()})
    _anchors[new] = found
    return new


def _of(anchor: Anchor) -> LogZ:
    return lambda machine, value: anchor.of_machine(machine)


def anchors_of(model: pm.Model) -> dict[str, Anchor]:
    """Return the anchors by name of machine; ValueError where `anchored` did not make the model."""
    checked_model(model, "check_anchors")
    if model not in _anchors:
        raise ValueError(
            "This model has no anchors: pass the model that pymc_rbm.anchored returned, in the process that made it."
        )
    return _anchors[model]


def _chosen(model: pm.Model, names: Any) -> dict[str, Any]:
    """Return the variables of the machines to anchor: those that are named, or those whose log Z is not exact."""
    if names is None:
        machines = named_machines(model)
        unknown = {name: rv for name, rv in machines.items() if not rv.owner.op.knows_log_z}
        names = [name for name, rv in unknown.items() if not is_tractable(machine_of_rv(rv))]
        if machines and not names:
            raise ValueError(
                f"log Z of {sorted(machines)} is exact in this model, or was given: pm.sample needs no anchor. (To "
                "compare both, name machines: names=…)"
            )
    return chosen_machines(model, names, "anchored")


# ------------------------------------------------------------------------------------------------------ the draws


def drawn_anchor(
    name: str, machine: Machine, rows: int, effort: Effort, rng: np.random.Generator
) -> tuple[Anchor, str]:
    """Return an anchor, whose log Z is 0, and a warning or an empty text; ValueError where its chains do not mix."""
    for method in ("gibbs", "pt"):
        pilot, seen = _pilot(machine, method, 1, effort, rng)
        if seen.chains != "mixed" and _time(seen) < PILOT:  # it may have been too short for slow chains
            pilot, seen = _pilot(machine, method, int(np.ceil(_time(seen))), effort, rng)
        if seen.chains == "mixed":
            break
    if seen.chains == "not mixed":
        raise ValueError(
            f"Chains of {name} at the anchor do not mix, neither by themselves nor along a ladder of temperatures: "
            f"{seen.reasons[0]} Draws of them would be an unreliable anchor. Learn with a narrower prior on the "
            "weights, or method='pt'."
        )
    time, units = _time(seen), sum(np.size(layer.bias) for layer in machine.layers)
    wanted = rows / effort.target_error**2
    most = max(1, min(effort.draws, ENTRIES // units) // CHAINS)
    each = min(most, int(np.ceil(wanted * time / CHAINS)))  # one a sweep would do, if so many can be kept
    every = int(max(1, min(np.ceil(time), np.ceil(wanted * time / CHAINS / each))))
    worth = CHAINS * each * min(1.0, every / time)
    last = pilot["last_states"].dataset["v"].values
    kept = _drawn(machine, method, each, 0, every, last, effort, rng)["posterior"].dataset["v"].values
    kept = kept.reshape(-1, kept.shape[-1])
    anchor = Anchor.of(machine, 0.0, kept, min(effort.states, max(2, 2**23 // kept.shape[1])), rows, worth)
    said = []
    if seen.chains == "cannot tell":
        said.append(f"Chains of {name} at the anchor are too short to tell whether they mix: {seen.reasons[0]}")
    if anchor.error > 1.2 * effort.target_error:
        said.append(
            f"{len(kept):,} draws of {name}, worth {worth:,.0f} independent ones, move posterior means by about "
            f"{anchor.error:.2g} posterior standard deviations, more than target_error={effort.target_error:g}: raise "
            "draws."
        )
    return anchor, " ".join(said)


def _time(seen: Any) -> float:
    """Return the longest autocorrelation time, in sweeps or lifts."""
    return float(max(1.0, np.nanmax(seen.measures["autocorrelation_sweeps"].values)))


def _pilot(
    machine: Machine, method: str, sweeps: int, effort: Effort, rng: np.random.Generator
) -> tuple[xr.DataTree, Diagnosis]:
    """Return draws, and whether their chains mix."""
    found = _drawn(machine, method, PILOT, BURN_IN, sweeps, None, effort, rng)
    return found, diagnose(found, random_seed=rng, progressbar=effort.progressbar)


def _drawn(
    machine: Machine,
    method: str,
    draws: int,
    tune: int,
    sweeps: int,
    start: np.ndarray | None,
    effort: Effort,
    rng: np.random.Generator,
) -> xr.DataTree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it says of renewals `diagnose` says again
        found = sample_gibbs(
            machine, draws=draws, tune=tune, chains=CHAINS, sweeps=sweeps, method=method, start=start, random_seed=rng,
            progressbar=effort.progressbar,
        )  # fmt: skip
    if found.attrs.get("interrupted"):
        raise KeyboardInterrupt
    return found
