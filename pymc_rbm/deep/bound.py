r"""Estimate the variational bound on the log-likelihood of a deep belief network.

Layers h⁰ = v, h¹, …, h^{L-1} and the restricted machine on top of h^{L-1}. The network and its up-pass are

    p(v, h¹, …) = p_top(h^{L-1}) ∏_k p(h^{k-1} | h^k),        q(h¹, … | v) = ∏_k q(h^k | h^{k-1}),

where both conditionals of layer k are those of machine k. With p_top(x) = exp(-F_top(x)) / Z_top,

    log w = -F_top(h^{L-1}) + Σ_k [log p(h^{k-1} | h^k) - log q(h^k | h^{k-1})],   log p(v) ≥ E_q[log w] - log Z_top,

because E_q[w] / Z_top = p(v) and the logarithm is concave. One layer has no q: the bound is the log-likelihood. If the
top machine is the one below it upside down, then p(v, h^{L-1}, …) is that machine's joint density, w is the same for
all h, and the bound is that of the network without its top (Hinton, Osindero & Teh 2006, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.io import In, Out
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.deep.passes import draw_up, log_density, symbolic_stack
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.work import Work

__all__ = ["bound_tree", "log_ratio", "log_ratios", "summary"]

CHUNK_ENTRIES = 2**20


def log_ratio(machines: Sequence[Machine], states: Sequence[Any]) -> TensorVariable:
    """Return log w of states of the layers 0 to L - 1, one value a row."""
    log_w = -machines[-1].free_energy(states[-1])
    for machine, below, above in zip(machines[:-1], states[:-1], states[1:], strict=True):
        down, up = machine.field(VISIBLE, [None, above]), machine.field(HIDDEN, [below, None])
        visible, hidden = (layer.unit for layer in machine.layers)
        log_w += log_density(visible, below, down) - log_density(hidden, above, up)
    return log_w


def log_ratios(
    machines: Sequence[Machine], v: np.ndarray, draws: int, rng: np.random.Generator, progressbar: bool = False
) -> np.ndarray:
    """Return log w for ``draws`` draws of the up-pass from each row of ``v``, shape (draws, rows)."""
    draws = draws if len(machines) > 1 else 1  # with one machine nothing is drawn
    function = _log_ratio_function(tuple(machine.template for machine in machines))
    parameters = [p for machine in machines for p in machine.parameters]
    size = max(1, CHUNK_ENTRIES // max(np.size(layer.bias) for machine in machines for layer in machine.layers))
    own, out = np.random.Generator(np.random.PCG64(rng.integers(2**63))), np.empty((draws, len(v)))
    with Work(progressbar) as work:
        work.begin("variational bound", out.size)
        for i, start in product(range(draws), range(0, len(v), size)):
            if work.interrupted:
                raise KeyboardInterrupt
            part = slice(start, start + size)
            own, out[i, part] = function(own, v[part], *parameters)
            work.advance(len(out[i, part]))
    return out


@remembered(64)
def _log_ratio_function(templates: tuple[Machine, ...]):
    """Compile (rng, v, parameters…) -> rng, log w by row."""
    machines, inputs = symbolic_stack(templates)
    rng, v = pt.random.rng("rng"), pt.tensor("v", dtype=templates[0].layers[VISIBLE].unit.dtype, shape=(None, None))
    states, next_rng = draw_up(machines[:-1], v, rng)
    outputs = [Out(next_rng, borrow=True), log_ratio(machines, states)]
    return pytensor.function([In(rng, mutable=True), v, *inputs], outputs, on_unused_input="ignore")


def summary(log_w: np.ndarray, log_z: float, error_of_log_z: float) -> dict[str, Any]:
    """Return bounds by row and their mean over rows with its errors.

    ``row_bound`` is the mean over draws, ``row_error`` its Monte Carlo error; ``row_importance_weighted`` the log of
    the mean of w (Burda, Grosse & Salakhutdinov 2016), between the bound and the log-likelihood in expectation.
    """
    draws, rows = log_w.shape
    bound = log_w.mean(0) - log_z
    error = log_w.std(0, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(rows, 0.0)
    weighted = np.logaddexp.reduce(log_w, axis=0) - np.log(draws) - log_z
    by_rows = bound.std(ddof=1) / np.sqrt(rows) if rows > 1 else 0.0
    return {
        "row_bound": bound,
        "row_error": error,
        "row_importance_weighted": weighted,
        "mean": bound.mean(),
        "importance_weighted": weighted.mean(),
        "error_of_draws": np.sqrt((error**2).sum()) / rows,
        "error_of_rows": by_rows,
        "error_of_log_z": error_of_log_z,
        "standard_error": np.hypot(by_rows, error_of_log_z),
    }


def bound_tree(found: dict[str, Any], rows: xr.DataArray, log_z: xr.Dataset, draws: int) -> xr.DataTree:
    """Return a `summary` as `DeepBeliefNetwork.bound` does; ``rows`` has the dims and coords of the data's rows."""
    per_row = {key[4:]: (rows.dims, x) for key, x in found.items() if key.startswith("row_")}
    mean = {key: x for key, x in found.items() if not key.startswith("row_")}
    groups = {"bound": xr.Dataset(per_row, coords=rows.coords), "mean_bound": xr.Dataset(mean), "log_z": log_z}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"created_by": "pymc_rbm.DeepBeliefNetwork.bound", "draws": draws}
    return tree
