"""Find pseudo log-likelihoods, which are sums of conditionals of single units and need no log Z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.machine.door import data_of, whole
from pymc_rbm.machine.given import draw_by_draw
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.spellings import data_first
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.machine.validation import normalisable_machine
from pymc_rbm.sampling.conditionals import log_conditional
from pymc_rbm.support.arguments import generator, one_of
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import by_kernels

__all__ = ["pseudo_log_likelihood"]


@data_first()
@draw_by_draw
def pseudo_log_likelihood(
    data: Any,
    target: Any = None,
    learned: Any = None,
    *,
    method: str = "exact",
    random_seed: int | np.random.Generator | None = None,
) -> xr.DataArray:
    """Return ``Σ_i log p(v_i | the other visible units)`` of each row, which needs no log Z.

    Parameters
    ----------
    data : array_like, DataArray or data frame, shape (rows, visible)
        Whole rows.
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned, optional
        Default: the model on the context stack. Its visible units must have finitely many states.
    learned : DataTree, optional
        As in `log_likelihood`; a posterior puts the dims chain and draw before those of the rows.
    method : {"exact", "stochastic"}
        "exact" sums over all visible units (Besag 1975). "stochastic" takes one unit a row, at random, times the
        number of units: unbiased, ``visible`` times cheaper, and far noisier.
    random_seed : int or Generator, optional
        "stochastic" only.

    Returns
    -------
    DataArray, shape (rows,)
        In nats, a total over units.

    Raises
    ------
    ValueError
        If the data do not fit the machine or have missing entries, or the visible units are not finite.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted(np.zeros((3, 2)), np.zeros(3), np.zeros(2))
    >>> float(pmr.pseudo_log_likelihood([[0, 1, 1]], machine)[0].round(4)) == float((3 * np.log(0.5)).round(4))
    True
    """
    one_of("method", method, ("exact", "stochastic"))
    machine = normalisable_machine(machine_of(target, learned))
    unit = machine.layers[VISIBLE].unit
    if not unit.finite:
        raise ValueError(
            f"Conditionals of single units need visible units with finitely many states, got {type(unit).__name__} "
            "units: use log_likelihood."
        )
    given = data_of(data, machine.layers[VISIBLE], labels_of(target, learned))
    rows = whole(given)
    n = machine.layers[VISIBLE].unit.count(rows.shape[1])
    conditional = _conditional_function(machine.template)
    if method == "stochastic":
        units = generator(random_seed).integers(n, size=len(rows))
        values = n * conditional(rows, units, *machine.parameters)
    else:
        values = sum(conditional(rows, np.full(len(rows), i), *machine.parameters) for i in range(n))
    return given.by_row(values).rename("pseudo_log_likelihood")


@remembered(64)
def _conditional_function(template: Machine):
    machine, inputs = template.symbolic()
    v, unit = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype), pt.lvector("unit")
    return by_kernels([v, unit, *inputs], log_conditional(machine, v, unit))
