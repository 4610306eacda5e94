"""Greedy learning of deep belief networks, machine by machine from the bottom up."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.checks import unit_data, whole_number
from pymc_rbm.deep import DeepBeliefNetwork
from pymc_rbm.distributions import RBM
from pymc_rbm.learning import fit
from pymc_rbm.machine import HIDDEN, VISIBLE
from pymc_rbm.passes import states_up
from pymc_rbm.units import Bernoulli, Unit

__all__ = ["fit_deep"]

STANDARD_NORMAL = partial(pm.Normal, mu=0, sigma=1)


def fit_deep(
    data: Any,
    hidden: Sequence[int],
    *,
    visible: Unit | None = None,
    prior: Callable[..., Any] | list[Callable[..., Any]] = STANDARD_NORMAL,
    tied: bool | list[bool] = False,
    copies: int = 1,
    name: str | None = None,
    below: DeepBeliefNetwork | None = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    **options: Any,
) -> DeepBeliefNetwork:
    r"""Learn a deep belief network greedily: each machine by `fit`, on draws of the hidden units of the one below.

    Machine 1 learns the data. Machine k + 1 learns rows h^k ~ q(h^k | h^{k-1}), one draw of the up-pass from each row
    of the data (states, not means). Its log-likelihood of such rows is, but for a constant, the variational bound on
    log p(v) as a function of its parameters: see `DeepBeliefNetwork.bound`.

    Parameters
    ----------
    data : array_like or DataArray, shape (rows, visible)
        States of the visible units. Dims and coords of a DataArray become the network's.
    hidden : sequence of int
        Number of (binary) hidden units of each machine, from the bottom up.
    visible : Unit, default Bernoulli()
        The visible units of the lowest machine, such as ``pmr.Gaussian(sigma)``, sigma numbers.
    prior : callable or list of them, default ``partial(pm.Normal, mu=0, sigma=1)``
        Makes a machine's weights: called as ``prior("W1", dims=…)`` inside its model. ``pm.Flat`` is plain maximum
        likelihood. Biases are ``pm.Flat``.
    tied : bool or list of bool, default False
        Whether a machine starts as the one below upside down (it needs as many hidden units as that one has visible
        ones; not for the lowest). The bound then starts where the network below left it, and rises from there as far as
        learning follows the likelihood of its rows.
    copies : int, default 1
        Draws of the up-pass from each row; each counts 1/copies. More of them come closer to the expectation that the
        bound has, where rows are few. An epoch goes through all of them.
    name : str, optional
        Of the visible variable. Default: that of ``data`` if it has one, else "v".
    below : DeepBeliefNetwork, optional
        Machines that are there already; ``hidden`` are those on top of it.
    random_seed : int or Generator, optional
        The same seed gives the same network.
    progressbar : bool, default True
        One bar a machine, that of `fit`.
    **options
        Of `fit`: ``epochs``, ``learning_rate``, ``method``, … A list has one entry a machine, anything else is for all.

    Returns
    -------
    DeepBeliefNetwork
        Its ``learned`` holds what `fit` returned of each machine. Ctrl-C finishes the iteration and returns the
        machines so far, the interrupted one included (``.first(n)`` leaves it out), with a warning.

    Raises
    ------
    ValueError
        Before any work, if sizes do not fit, data are no states of the visible units or have missing entries, or a list
        has not one entry a machine.

    References
    ----------
    .. [1] Hinton, G. E., Osindero, S., Teh, Y. W. (2006). A fast learning algorithm for deep belief nets. Neural
       Computation 18, 1527-1554.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> dbn = pmr.fit_deep(pmr.datasets.bars_and_stripes(3), [6, 4], epochs=[4, 2], random_seed=1, progressbar=False)
    >>> dbn
    <DeepBeliefNetwork 9-6-4: v, h1>
    """
    refused = {"model", "resume", "start", "row_weights", "checkpoint"} & set(options)
    if refused:
        raise ValueError(f"fit_deep takes no {sorted(refused)}: see `below`, `tied` and `copies`, or stack with of().")
    plan = Plan(data, hidden, visible or Bernoulli(), name, whole_number("copies", copies), below)
    options = {"prior": prior, "tied": tied, "progressbar": progressbar, **options}
    each = [dict(zip(options, own, strict=True)) for own in zip(*_lists(options, len(plan.sizes)), strict=True)]
    plan.check_tied([own["tied"] for own in each])
    rng, network = np.random.default_rng(random_seed), below
    for own in each:
        try:
            layer = plan.learn(network, rng, **own)
        except KeyboardInterrupt:  # while compiling: `fit` itself returns what it has
            if network is None:
                raise
            warnings.warn(f"Interrupted before machine {len(network) + 1}: returning those below.", stacklevel=2)
            return network
        network = DeepBeliefNetwork.of(*(network.layers if network is not None else ()), layer)
        if layer.attrs["interrupted"]:
            break
    assert network is not None
    return network


class Plan:
    """What `fit_deep` is to learn: the data, the sizes and the names of the layers."""

    def __init__(self, data, hidden, visible: Unit, name: str | None, copies: int, below: DeepBeliefNetwork | None):
        sizes = list(hidden) if np.iterable(hidden) else [hidden]
        if not sizes:
            raise ValueError("hidden must name the number of hidden units of at least one machine, as in [64, 32].")
        self.sizes, self.copies, self._unit = [whole_number("hidden", n) for n in sizes], copies, visible
        if np.ma.is_masked(data):
            raise ValueError("fit_deep needs whole rows, the data have masked entries: complete them first.")
        name = name or getattr(data, "name", None) or "v"
        data = data if isinstance(data, xr.DataArray) else xr.DataArray(data, dims=(f"{name}_row", f"{name}_unit"))
        if data.ndim != 2:
            raise ValueError(f"data must have shape (rows, visible), got {data.shape}.")
        n = None if below is None else len(below.labels[0])
        self.rows = unit_data(
            data.values, visible if below is None else below.machines[0].layers[VISIBLE].unit, n, "data"
        )
        dim = data.dims[1]
        self._visible = name, str(dim), data[dim].values if dim in data.coords else np.arange(data.shape[1])
        self._widths = [*self._sizes_of(below), *self.sizes]
        self._before = 0 if below is None else len(below)

    def _sizes_of(self, below: DeepBeliefNetwork | None) -> list[int]:
        return [self.rows.shape[1]] if below is None else [len(labels) for labels in below.labels]

    def check_tied(self, tied: list[bool]) -> None:
        """Refuse to start a machine as another upside down where there is none, or it has another size."""
        for k, wanted in enumerate(tied, start=self._before + 1):
            if wanted and (k == 1 or self._widths[k] != self._widths[k - 2]):
                n = "no machine below it" if k == 1 else f"{self._widths[k - 2]} units two layers below"
                raise ValueError(f"Machine {k} cannot be tied: it has {self._widths[k]} hidden units and {n}.")

    def learn(self, network, rng: np.random.Generator, prior, tied: bool, **options: Any) -> xr.DataTree:
        """Learn the next machine on top of ``network``."""
        k = 1 if network is None else len(network) + 1
        if network is None:
            rows, unit, (name, dim, labels) = self.rows, self._unit, self._visible
        else:
            rows, unit = np.repeat(self.rows, self.copies, axis=0), network.machines[-1].layers[HIDDEN].unit
            for machine in network.machines:
                rows = states_up(machine, rows, rng)
            name, dim, labels = f"h{k - 1}", network.dims[-1], network.labels[-1]
        start = {}
        if tied:
            b, c, W = network.tied().machines[-1].parameters[:3]
            start = {f"b{k}": b, f"c{k}": c, f"W{k}": W}
        weights = None if k == 1 or self.copies == 1 else np.full(len(rows), 1 / self.copies)
        above = f"h{k}_unit"
        with pm.Model(coords={dim: labels, above: np.arange(self.sizes[k - 1 - self._before])}, model=None) as model:
            W = prior(f"W{k}", dims=(dim, above))
            b, c = pm.Flat(f"b{k}", dims=dim), pm.Flat(f"c{k}", dims=above)
            RBM(name, W, b, c, visible=unit, observed=xr.DataArray(rows, dims=(f"{name}_row", dim)))
        return fit(model=model, start=start, row_weights=weights, random_seed=rng.spawn(1)[0], **options)


def _lists(options: dict[str, Any], n: int) -> list[list[Any]]:
    """Each option with one entry a machine."""
    lists = []
    for key, value in options.items():
        values = value if isinstance(value, list) else [value] * n
        if len(values) != n:
            raise ValueError(f"{key} is a list of {len(values)}, but there are {n} machines to learn.")
        lists.append(values)
    return lists
