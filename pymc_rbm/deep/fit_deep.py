"""Learn deep belief networks greedily, machine by machine, from the bottom up."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.deep.network import DeepBeliefNetwork
from pymc_rbm.deep.passes import states_up
from pymc_rbm.distributions.rbm import RBM
from pymc_rbm.learning.fit import fit
from pymc_rbm.machine.door import data_of, whole
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Layer
from pymc_rbm.machine.parameters import check_unit
from pymc_rbm.support.arguments import generator, listed, shown, whole_number
from pymc_rbm.support.interrupts import DeferredInterrupt, Prompt
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.received import name_of, receive
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.unit import Unit

__all__ = ["fit_deep"]

ALMOST_NOTHING = 0.01
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
    of the data (states, not means). Its log-likelihood of such rows is, up to a constant, the variational bound on
    log p(v) as a function of its parameters: see `DeepBeliefNetwork.bound`.

    Parameters
    ----------
    data : array_like, DataArray or data frame, shape (rows, visible)
        States of the visible units. Dims and coords of a DataArray, or a frame's columns, become the network's.
    hidden : sequence of int
        Number of (binary) hidden units of each machine, from the bottom up.
    visible : Unit, default Bernoulli()
        The visible units of the lowest machine, such as ``pmr.Gaussian(sigma)``, sigma numbers.
    prior : callable or list of them, default ``partial(pm.Normal, mu=0, sigma=1)``
        Makes a machine's weights: called as ``prior("W1", dims=…)`` inside its model. ``pm.Flat`` is plain maximum
        likelihood. Biases are ``pm.Flat``.
    tied : bool or list of bool, default False
        Whether a machine starts as the one below upside down (not the lowest). It needs at least as many hidden units
        as that one has binary visible ones; further units start almost uncoupled. The bound then starts where the
        network below left it, and rises from there as far as learning follows the likelihood of the machine's rows.
    copies : int, default 1
        Draws of the up-pass from each row; each counts 1/copies. More of them come closer to the expectation that the
        bound has, where rows are few. An epoch goes through all of them.
    name : str, optional
        Name of the visible variable. Default: that of ``data`` if it has one, else "v".
    below : DeepBeliefNetwork, optional
        A network of machines that are learned already; ``hidden`` are those on top of it.
    random_seed : int or Generator, optional
        The same seed gives the same network.
    progressbar : bool, default True
        One bar a machine, that of `fit`.
    **options
        Options of `fit`: ``epochs``, ``learning_rate``, ``method``, … A list has one entry a machine, anything else is
        for all.

    Returns
    -------
    DeepBeliefNetwork
        Its ``learned`` holds what `fit` returned of each machine. Ctrl-C finishes the iteration and returns the
        machines so far, the interrupted one included (``.first(n)`` leaves it out), with a warning.

    Raises
    ------
    ValueError
        Before any work, if sizes do not fit, data are not states of the visible units or have missing entries, or a
        list does not have one entry a machine.

    References
    ----------
    .. [1] Hinton, G. E., Osindero, S., Teh, Y. W. (2006). A fast learning algorithm for deep belief nets. Neural
       Computation 18, 1527-1554.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> options = {"method": "pcd", "random_seed": 1, "progressbar": False}
    >>> dbn = pmr.fit_deep(pmr.datasets.bars_and_stripes(3), [6, 4], epochs=[4, 2], **options)
    >>> dbn
    <DeepBeliefNetwork 9-6-4: v, h1>
    """
    refused = {"model", "resume", "start", "row_weights", "checkpoint"} & set(options)
    if refused:
        raise ValueError(
            f"fit_deep does not take {sorted(refused)}, which pymc_rbm.fit takes for single machines. Use below=, "
            "tied= and copies=, or learn each machine by fit and stack them by pymc_rbm.DeepBeliefNetwork.of."
        )
    check_unit(visible, "visible")
    if below is not None and not isinstance(below, DeepBeliefNetwork):
        raise TypeError(f"below must be a network that pymc_rbm.fit_deep returned, got {shown(below)}. Leave it out.")
    plan = Plan(data, hidden, visible or Bernoulli(), name, whole_number("copies", copies), below)
    options = {"prior": prior, "tied": tied, "progressbar": progressbar, **options}
    each = [dict(zip(options, own, strict=True)) for own in zip(*_lists(options, len(plan.sizes)), strict=True)]
    plan.check_tied([own["tied"] for own in each])
    rng, network = generator(random_seed), below
    for own in each:
        try:
            layer = plan.learn(network, rng, **own)
        except KeyboardInterrupt:  # it came during compilation; `fit` itself returns what it has
            if network is None:
                raise
            _warn_of_the_rest(network)
            return network
        with DeferredInterrupt() as interrupt:  # what was just learned must not be lost while it is put on top
            network = DeepBeliefNetwork.of(*(network.layers if network is not None else ()), layer)
            pressed = interrupt.pending
        if layer.attrs["interrupted"]:
            break
        if pressed and own is not each[-1]:
            _warn_of_the_rest(network)
            break
    assert network is not None
    return network


def _warn_of_the_rest(network: DeepBeliefNetwork) -> None:
    warnings.warn(
        f"Interrupted before machine {len(network) + 1} was learned; the network of the machines below it "
        "is returned. Pass it as below= to go on.",
        stacklevel=3,
    )


class Plan:
    """Plan of what `fit_deep` learns: the data, and the sizes and names of the layers."""

    def __init__(self, data, hidden, visible: Unit, name: str | None, copies: int, below: DeepBeliefNetwork | None):
        needed = "the number of units of each machine, as in [64, 32]"
        sizes = [hidden] if isinstance(hidden, int | np.integer) else listed("hidden", hidden, needed)
        if not sizes:
            raise ValueError("hidden must have the number of units of at least one machine, as in [64, 32], got none.")
        self.sizes, self.copies = [whole_number("hidden", n) for n in sizes], copies
        name = name or name_of(data) or "v"
        got, labels = receive(data), Labels(name)
        if got.values.ndim == 1:
            raise ValueError(f"data must have shape (rows, visible), got shape {got.values.shape}, one row: give more.")
        if below is not None:
            visible, labels = below.machines[0].layers[VISIBLE].unit, below.visible_labels
        # Without a network below, the data have one column for each entry, or one label for each whole unit.
        n = (got.values.shape[-1] if got.values.ndim else 0) if below is None else len(below.labels[0])
        if below is None and visible.width > 1 and not np.isin(np.ma.getdata(got.values), (0, 1)).all():
            n *= visible.width
        found = data_of(got, Layer(visible, np.empty(n)), labels)
        remedy = "fit_deep needs whole rows: complete them first, by inpaint."
        self._unit, self.rows = visible, whole(found, remedy=remedy)
        dim, known = found.dims[1], found.coords.get(found.dims[1])
        self._visible = name, dim, np.arange(n) if known is None else np.asarray(known)
        below_widths = [n] if below is None else [len(labels) for labels in below.labels]
        self._widths, self._before = [*below_widths, *self.sizes], 0 if below is None else len(below)

    def check_tied(self, tied: list[bool]) -> None:
        """Refuse to tie a machine if there is none below it, or if it does not have the units for it."""
        for k, wanted in enumerate(tied, start=self._before + 1):
            if wanted and k == 1:
                raise ValueError("Machine 1 cannot be tied: there is no machine below it. Begin the list with False.")
            if wanted and self._widths[k] < self._widths[k - 2]:
                n, least = self._widths[k], self._widths[k - 2]
                raise ValueError(
                    f"Machine {k} has {n} hidden units, but to be tied it needs at least {least}, as "
                    "many as the layer two below. Raise its number in hidden=, or give tied=False."
                )
            if wanted and k == 2 and not isinstance(self._unit, Bernoulli):
                raise ValueError(
                    f"Machine 2 has binary hidden units and cannot be tied to {self._unit!r}: give tied=False."
                )

    def learn(self, network, rng: np.random.Generator, prior, tied: bool, **options: Any) -> xr.DataTree:
        """Learn the next machine on top of ``network``."""
        k = 1 if network is None else len(network) + 1
        with Prompt():
            model, rows, start = self._model(network, k, rng, prior, tied)
        weights = None if k == 1 or self.copies == 1 else np.full(len(rows), 1 / self.copies)
        return fit(model=model, start=start, row_weights=weights, random_seed=rng.spawn(1)[0], **options)

    def _model(
        self, network, k: int, rng: np.random.Generator, prior, tied: bool
    ) -> tuple[pm.Model, np.ndarray, dict[str, np.ndarray]]:
        """Return the model of machine ``k``, its rows, and its start values."""
        if network is None:
            rows, unit, (name, dim, labels) = self.rows, self._unit, self._visible
        else:
            rows, unit = np.repeat(self.rows, self.copies, axis=0), network.machines[-1].layers[HIDDEN].unit
            for machine in network.machines:
                rows = states_up(machine, rows, rng)
            name, dim, labels = f"h{k - 1}", network.dims[-1], network.labels[-1]
        size = self._widths[k]
        start = {}
        if tied:
            top = network.tied().machines[-1].by_kind
            [W], (b, c) = top.weights, top.biases
            further = rng.normal(0, ALMOST_NOTHING, (len(b), size - len(c)))
            start = {f"b{k}": b, f"c{k}": np.r_[c, np.zeros(size - len(c))], f"W{k}": np.c_[W, further]}
        above = f"h{k}_unit"
        with pm.Model(coords={dim: labels, above: np.arange(size)}, model=None) as model:
            W = prior(f"W{k}", dims=(dim, above))
            b, c = pm.Flat(f"b{k}", dims=dim), pm.Flat(f"c{k}", dims=above)
            RBM(name, W, b, c, visible=unit, observed=xr.DataArray(rows, dims=(f"rows_of_{name}", dim)))
        return model, rows, start


def _lists(options: dict[str, Any], n: int) -> list[list[Any]]:
    """Return each option as a list with one entry a machine."""
    lists = []
    for key, value in options.items():
        values = value if isinstance(value, list) else [value] * n
        if len(values) != n:
            raise ValueError(
                f"{key} is a list of {len(values)} entries, but there are {n} machines to learn. Give a list of {n}."
            )
        lists.append(values)
    return lists
