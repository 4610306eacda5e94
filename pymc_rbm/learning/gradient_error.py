"""Find the gradient of the likelihood at given parameters, with the Monte Carlo error of its negative phase."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.learning.data import in_pieces
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED

__all__ = ["gradient_and_error"]


def gradient_and_error(machines: dict[str, Machine], learner: Learner) -> xr.Dataset:
    r"""Return the size of the mean log-likelihood's gradient by W, b and c, and of its Monte Carlo error.

    The gradient is the difference of the means of ``v hᵀ``, ``v`` and ``h`` over data and particles (hidden units as
    probabilities). The error of each entry is the standard deviation over particles, which are independent chains,
    divided by the root of their number. Both are returned as Euclidean norms, ``{name}_gradient_norm`` and
    ``{name}_gradient_standard_error``. At the optimum the first is of the size of the second. The squared norm is
    biased upwards by the squared error. Priors are left out. Of very many rows those of `Observed.judged` stand for
    all, and their sampling error is a part of the error.
    """
    out = {}
    states = learner.particle_states()
    for x in learner.observed:
        machine = machines[x.name]
        moments = _moments_function(machine.template)
        judged, sums = x.judged, [0.0, 0.0]
        for piece in in_pieces(judged, x.rows.shape[1]):
            found = moments(learner.rows(x.name, piece), x.weights[piece], *machine.parameters)
            sums = [total + new for total, new in zip(sums, found, strict=True)]
        positive, of_rows = (total / x.weights[judged].sum() for total in sums)
        n = len(states[x.name])
        negative, squares = (m / n for m in moments(states[x.name], np.ones(n), *machine.parameters))
        variance = np.maximum(squares - negative**2, 0) / max(n - 1, 1)
        if len(judged) < len(x.rows):
            variance = variance + np.maximum(of_rows - positive**2, 0) / len(judged)
        out[f"{x.name}_gradient_norm"] = np.linalg.norm(positive - negative)
        out[f"{x.name}_gradient_standard_error"] = np.sqrt(variance.sum()) if n > 1 else np.nan
    return xr.Dataset(out)


@remembered(64)
def _moments_function(template: Machine):
    """Compile (rows, weights, parameters) -> weighted sums over rows of the gradient's statistics, and of squares."""
    rows, weights = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype), pt.dvector()
    machine, parameters = template.symbolic()
    states = [rows.astype("float64"), *(machine.mean(i, machine.at(rows)) for i in range(HIDDEN, len(machine.layers)))]

    def sums(states):
        pairs = [(states[c.first] * weights[:, None]).T @ states[c.second] for c in machine.couplings]
        # In the coupling of a layer to itself each pair counts once.
        pairs = [pt.triu(x, 1) if c.first == c.second else x for x, c in zip(pairs, machine.couplings, strict=True)]
        return pt.concatenate([*(x.ravel() for x in pairs), *(weights @ x for x in states)])

    # The statistics do not depend on the visible biases.
    inputs = [rows, weights, *parameters]
    outputs = [sums(states), sums([x**2 for x in states])]
    return pytensor.function(inputs, outputs, on_unused_input="ignore", mode=INTERPRETED)
