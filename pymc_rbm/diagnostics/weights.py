"""Whether draws of a posterior over weights can be believed: in statistics that no change of places alters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_rbm.diagnostics.invariants import invariants
from pymc_rbm.diagnostics.relabelling import model_and_machine
from pymc_rbm.diagnostics.verdict import MIXED, UNKNOWN, Diagnosis, Finding, judge_chains
from pymc_rbm.distributions.lookup import model_of, named_machines
from pymc_rbm.machine.machine import HIDDEN
from pymc_rbm.support.convergence import RHAT, convergence, rhat

__all__ = ["are_weights", "diagnose_weights"]

LONGER = "Draw more: pm.sample(draws=…, tune=…)."
FORMS = (
    f"{LONGER} Where that changes nothing, chains may have hidden units turned (0 for 1, with other biases b): forms "
    "that a narrow prior of b weighs differently. A wider prior of b makes them alike."
)


def are_weights(idata: xr.DataTree, target: Any, name: str | None) -> bool:
    """Whether draws are those of a machine's parameters and not of its units."""
    if isinstance(target, Variable):
        target = model_of(target)
    model = pm.Model.get_context(error_if_none=False) if target is None else target
    if not isinstance(model, pm.Model) or "machines" in idata or not model.free_RVs:
        return False
    drawn = set(idata["posterior"].data_vars)
    names = named_machines(model) if name is None else [name]
    units = {f"{x}{ending}" for x in names for ending in ("", "_unobserved", "_free_energy")}
    return not drawn & units and bool(drawn & {rv.name for rv in model.free_RVs})


def diagnose_weights(idata: xr.DataTree, target: Any, name: str | None) -> Diagnosis:
    """Compare chains of a posterior over weights by `invariants`, and by the model's parameters that are numbers."""
    _, rv = model_and_machine(target, name, "diagnose")
    posterior, found = idata["posterior"].dataset, invariants(idata, target, name=name)
    shown = [x for x in ("mean_log_likelihood", "free_energy_spread", "singular_value") if x in found]
    watched = {x: found[x].values for x in shown}
    watched |= {str(x): posterior[x].values for x in posterior.data_vars if posterior[x].ndim == 2}
    table = convergence(watched)
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    advice = FORMS if rv.owner.op.template.layers[HIDDEN:] else LONGER
    findings = [x._replace(advice=advice if x.advice else "") for x in judge_chains(table, chains, draws)]
    findings.append(Finding(MIXED, "Modes of the posterior that no chain has found are not looked for."))
    stats = idata["sample_stats"].dataset if "sample_stats" in idata else xr.Dataset()
    diverging = int(stats["diverging"].sum()) if "diverging" in stats else 0
    if diverging:
        reason = f"{diverging} draws ended in a divergence: NUTS may have left out where the posterior curves most."
        findings.append(Finding(UNKNOWN, reason, "Raise target_accept, as in pm.sample(target_accept=0.95)."))
    agree = findings[0].verdict == MIXED
    arrays = [str(x) for x in posterior.data_vars if posterior[x].ndim > 2] if agree else []
    worst = max(((_rhat(posterior[x].values), x) for x in arrays), default=(1.0, ""))
    if worst[0] > RHAT:
        reason = (
            f"R-hat of {worst[1]} is up to {worst[0]:.2f} though p(v) agrees: hidden units have other places, or "
            "signs, in other draws, which changes nothing."
        )
        findings.append(Finding(MIXED, reason, "pmr.relabel brings hidden units of all draws into one order."))
    if rv.owner.op.knows_log_z:
        reason = "log Z of this machine was given to the model: how near it is to the truth is not asked here."
        findings.append(Finding(MIXED, reason, "Where it is anchored, ask pmr.check_anchors(model, idata)."))
    subject = f"posterior over weights, {chains} chains of {draws:,} draws"
    return Diagnosis.of(subject, findings, table.assign(diverging=diverging).assign_attrs(probes=False))


def _rhat(x: np.ndarray) -> float:
    """Return the largest R-hat of an array of parameters."""
    flat = x.reshape(*x.shape[:2], -1)
    return max(rhat(flat[..., i]) for i in range(flat.shape[-1]))
