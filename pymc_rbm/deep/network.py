"""A deep belief network is a stack of restricted machines, of which all but the top one are directed layers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.deep.bound import bound_tree, log_ratios, summary
from pymc_rbm.deep.model import DIRECTED, network_model
from pymc_rbm.deep.passes import states_up
from pymc_rbm.deep.posterior import posterior_states, posterior_tree
from pymc_rbm.deep.stack import Stack
from pymc_rbm.distributions.operations import DRAW_SWEEPS
from pymc_rbm.machine.door import whole
from pymc_rbm.machine.formulas import means_given
from pymc_rbm.machine.machine import HIDDEN, VISIBLE
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.log_partition import log_partition
from pymc_rbm.sampling.dispersal import dispersed_states
from pymc_rbm.support.arguments import finite_number, generator, whole_number, whole_numbers
from pymc_rbm.support.memory import check_memory

__all__ = ["DeepBeliefNetwork"]

STUCK = 0.02
COPIES = 3
"""How often all draws of a bound are in memory at once."""


class DeepBeliefNetwork(Stack):
    r"""A deep belief network: layers of directed units below a restricted Boltzmann machine.

    .. math::

        p(v, h^1, \dots, h^{L-1}) = p_\text{RBM}(h^{L-1}) \; p(h^{L-2} \mid h^{L-1}) \cdots p(v \mid h^1),
        \qquad p(h^{k-1}_i = 1 \mid h^k) = \sigma\big(b_{k,i} + (W_k h^k)_i\big)

    Layer 0 is visible, layer k the hidden layer of the k-th machine. `fit_deep` learns one; `of` stacks machines that
    you have. All its numbers live in ``learned``, a DataTree, so that

    >>> dbn.learned.to_netcdf("network.nc")  # doctest: +SKIP
    >>> dbn = pmr.DeepBeliefNetwork(xarray.open_datatree("network.nc"))  # doctest: +SKIP

    give it back.

    Parameters
    ----------
    learned : DataTree
        A child ``layer_1``, ``layer_2``, … for each machine from the bottom up, as `fit` returns it (the group
        ``machines`` is what is needed).

    Attributes
    ----------
    machines : tuple of Machine
        The machines from the bottom up; the last is the restricted machine on top.
    names, dims : tuple of str
        Names of the layers 0 to L - 1 as variables, and dims of the units of layers 0 to L.

    Raises
    ------
    ValueError
        If a machine's visible units are not the hidden units of the one below.

    References
    ----------
    .. [1] Hinton, G. E., Osindero, S., Teh, Y. W. (2006). A fast learning algorithm for deep belief nets. Neural
       Computation 18, 1527-1554.
    .. [2] Salakhutdinov, R., Murray, I. (2008). On the quantitative analysis of deep belief networks. ICML.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> machine = pmr.restricted(np.ones((6, 4)), np.zeros(6), np.zeros(4))
    >>> dbn = pmr.DeepBeliefNetwork.of(machine, pmr.restricted(np.ones((4, 3)), np.zeros(4), np.zeros(3)))
    >>> dbn.features(np.ones((2, 6))).shape
    (2, 3)
    >>> with dbn.model():
    ...     draws = pm.sample_prior_predictive(5, random_seed=1)
    >>> draws["prior"]["v"].shape
    (1, 5, 6)
    """

    # ------------------------------------------------------------------------------------------------- passes

    def features(
        self, data: Any, layer: int | None = None, *, sampled: bool = False, random_seed: Any = None
    ) -> xr.DataArray:
        """Return the units of a hidden layer given the data, by the up-pass.

        Parameters
        ----------
        data : array_like or DataArray, shape (…, visible)
            States, or (for means only) probabilities, as grey values are.
        layer : int, optional
            From 1, the hidden layer of the lowest machine, to the number of machines. Default: the highest.
        sampled : bool, default False
            Whether to draw states, q(h¹ | v) and so on. By default each layer gets the means of the one below in
            place of its states: deterministic, exact for layer 1, an approximation to E[h^k | v] above.
        random_seed : int or Generator, optional
            For draws.

        Returns
        -------
        DataArray, shape (…, hidden units of the layer)
            With the dims and coords of ``data``, if it has any.
        """
        layer = self._checked_layer(layer)
        given, rng = self._states(data) if sampled else self._means(data), generator(random_seed)
        x = whole(given, remedy="Complete the rows by DeepBeliefNetwork.inpaint.")
        for machine in self.machines[:layer]:
            x = states_up(machine, x, rng) if sampled else means_given(machine, HIDDEN, x)
        return self._array(given, x, layer)

    def reconstruct(self, data: Any, layer: int | None = None) -> xr.DataArray:
        """Return the visible means given a layer's `features`, which are passed down again.

        Parameters and shapes as in `features`; the result has the visible layer's units.
        """
        layer, given = self._checked_layer(layer), self._means(data)
        x = given.values
        for machine in self.machines[:layer]:
            x = means_given(machine, HIDDEN, x)
        for machine in reversed(self.machines[:layer]):
            x = means_given(machine, VISIBLE, x)
        return self._array(given, x, 0)

    # ------------------------------------------------------------------------------------------- likelihood

    def log_partition(self, **kwargs: Any) -> LogPartitionEstimate:
        """Return log Z of the top machine; arguments are those of `pymc_rbm.log_partition`."""
        return log_partition(self.layers[-1], **kwargs)

    def bound(
        self,
        data: Any,
        log_z: LogPartitionEstimate | float | None = None,
        *,
        draws: int = 100,
        random_seed: int | np.random.Generator | None = None,
        progressbar: bool = True,
    ) -> xr.DataTree:
        r"""Return the variational lower bound of ``log p(v)`` for each row, and the mean with its errors.

        .. math::

            \log p(v) \ge E_q\Big[\log p_\text{top}(h^{L-1}) + \sum_k \log p(h^{k-1} \mid h^k)
                          - \sum_k \log q(h^k \mid h^{k-1})\Big],

        q the up-pass. The expectation is a mean over ``draws`` draws. For one machine nothing is drawn and the bound is
        the log-likelihood; where q is the exact posterior all draws agree.

        Parameters
        ----------
        data : array_like or DataArray, shape (rows, visible)
        log_z : LogPartitionEstimate or float, optional
            log Z of the top machine. Default: what `log_partition` returns.
        draws : int, default 100
            Draws of the up-pass for each row, at least 2.
        random_seed : int or Generator, optional
        progressbar : bool, default True

        Returns
        -------
        DataTree
            Group ``bound``: per row, in nats, ``bound``, its Monte Carlo ``error``, and ``importance_weighted``, the
            log of the mean importance weight, which in expectation lies between the bound and log p(v) and tends to the
            latter. Group ``mean_bound``: ``mean`` of the bound over rows and ``importance_weighted``; the errors of the
            mean ``error_of_draws``, ``error_of_rows`` (from the spread over rows, that of the draws included),
            ``error_of_log_z`` (shared by all rows) and ``standard_error``, the last two together. Group ``log_z``.

        Raises
        ------
        ValueError
            If the data do not fit.

        Notes
        -----
        To compare two networks on the same rows, ``error_of_draws`` and ``error_of_log_z`` of both count, and the
        spread over rows does not. Where log Z is underestimated (annealed importance sampling in expectation) the
        number is too high, and a bound no longer.
        """
        given, draws = self._states(data, ndim=2), whole_number("draws", draws, 2)
        rows = whole(given, remedy="bound needs whole rows; see DeepBeliefNetwork.inpaint.")
        what = f"A bound from {draws:,} draws of each of {len(rows):,} rows"
        check_memory(COPIES * 8 * draws * len(rows), what, "Take fewer draws, or fewer rows.")
        rng = generator(random_seed)
        if log_z is None:
            log_z = self.log_partition(random_seed=rng.spawn(1)[0], progressbar=progressbar)
        elif not isinstance(log_z, LogPartitionEstimate):
            log_z = LogPartitionEstimate(finite_number("log_z", log_z), 0.0, "given")
        found = summary(log_ratios(self.machines, rows, draws, rng, progressbar), log_z.estimate, log_z.standard_error)
        return bound_tree(found, given.by_row(rows[:, 0]), log_z.to_datatree()["estimate"].to_dataset(), draws)

    # ------------------------------------------------------------------------------------------------ PyMC

    def model(self, observed: Any = None, *, size: int | None = None, sweeps: int = DRAW_SWEEPS) -> pm.Model:
        """Return the network as a PyMC model: an `RBM` on top, ``pm.Bernoulli`` (or ``pm.Normal``) layers below.

        Parameters
        ----------
        observed : array_like, DataArray or masked array, shape (visible,) or (rows, visible), optional
            States of the visible layer. Masked entries are left out of the likelihood, which sums them out; the
            likelihood is then called ``{name}_known``, and the Deterministic ``{name}_mean`` has the means of all
            entries given the layer above.
        size : int, optional
            Number of independent networks, as rows of data are. Default: none, or one each row of ``observed``.
        sweeps : int, default 1000
            Length of the Markov chain behind one forward draw of the top machine, see `RBM`.

        Returns
        -------
        Model
            Free variables are the layers ``names`` except the observed one; weights and biases are ``pm.Data``. A
            Deterministic ``{name}_mean`` for each directed layer holds its means.

        Raises
        ------
        ValueError
            If the data do not fit, or a directed layer has units for which PyMC has no distribution.
        """
        for machine in self.machines[:-1]:
            unit = machine.layers[VISIBLE].unit
            if type(unit) not in DIRECTED:
                raise ValueError(
                    f"A directed layer of {unit!r} units cannot be a PyMC distribution: use one of "
                    f"{[family.__name__ for family in DIRECTED]}, or inpaint, which needs no model."
                )
        rows, states = None, None
        if observed is not None:
            given = self._states(observed, "observed")
            states, dims = given.values, given.rows
            if states.ndim > 2:
                raise ValueError(
                    f"observed must have shape (visible,) or (rows, visible), where each row is a network, got shape "
                    f"{states.shape}. Give at most one axis of rows."
                )
            if size is not None:
                raise ValueError(
                    f"observed has shape {states.shape}, whose rows are the networks, and got size={size!r}, "
                    "too: leave size out."
                )
            if states.ndim == 2:
                labels = given.row_coords.get(dims[0])
                rows = dims[0], np.arange(len(states)) if labels is None else np.asarray(labels)
        elif size is not None:
            rows = f"{self.names[0]}_row", np.arange(whole_number("size", size))
        coords = dict(zip(self.dims, self.labels, strict=True))
        return network_model(self.machines, self.names, self.dims, coords, observed=states, rows=rows, sweeps=sweeps)

    def inpaint(
        self,
        data: Any,
        *,
        draws: int = 500,
        tune: int = 500,
        chains: int = 4,
        random_seed: int | np.random.Generator | None = None,
        progressbar: bool = True,
    ) -> xr.DataTree:
        """Draw the masked visible units, and all layers below the top machine's hidden one, given the known units.

        Parameters
        ----------
        data : masked array, or DataArray or data frame with NaN, shape (visible,) or (rows, visible)
            States of the visible units. Without masked entries only the hidden layers are drawn, from p(h | v).
        draws, tune : int, default 500
            Stored draws of each chain, and those before, which are thrown away.
        chains : int, default 4
            Chains of each row, from dispersed states of the masked units and up-passes from there.
        random_seed : int or Generator, optional
        progressbar : bool, default True

        Returns
        -------
        DataTree
            ``posterior``: the layers ``names``, dims (chain, draw, rows, units), the visible one completed.
            ``sample_stats``: ``accepted``, whether the proposal of hidden layers was accepted, by row.

        Warns
        -----
        UserWarning
            If rows accept less than a fiftieth of the proposals: their chains hardly move.

        Notes
        -----
        The up-pass proposes hidden layers, and a Metropolis-Hastings test corrects it, so that draws are exact in the
        limit, with any number of layers. Rows and chains run side by side.
        """
        draws, chains = whole_numbers(draws=draws, chains=chains)
        tune = whole_number("tune", tune, 0)
        if len(self) == 1:
            return self.tied().inpaint(
                data, draws=draws, tune=tune, chains=chains, random_seed=random_seed, progressbar=progressbar
            )
        given_data, rng = self._states(data), generator(random_seed)
        states = given_data.values
        known = np.tile(~np.ma.getmaskarray(states).reshape(-1, states.shape[-1]), (chains, 1))
        given = np.tile(np.ma.getdata(states).reshape(-1, states.shape[-1]), (chains, 1))
        start = np.where(known, given, dispersed_states(self.machines[0], len(given), rng))
        layers, accepted = posterior_states(self.machines, start, known, draws, tune, rng, progressbar)
        stuck = (accepted.reshape(len(accepted), chains, -1).mean((0, 1)) < STUCK).sum()
        if stuck:
            warnings.warn(
                f"{stuck} rows accepted less than {STUCK:.0%} of their proposals: their chains hardly move. Raise "
                "draws and tune, or do not use these rows.",
                stacklevel=2,
            )
        units = dict(zip(self.dims[:-1], self.labels, strict=False))
        return posterior_tree(
            dict(zip(self.names, layers, strict=False)), accepted, chains, given_data.by_row(states[..., 0]), units
        )
