"""A restricted Boltzmann machine is a random variable of PyMC."""

from __future__ import annotations

from functools import partial

from pymc_rbm.distributions.arguments import named_in_model
from pymc_rbm.distributions.base import MachineDistribution, add_named_parts, drawn
from pymc_rbm.distributions.operations import DRAW_SWEEPS, RBMRV
from pymc_rbm.machine.machine import restricted
from pymc_rbm.machine.ordering import together
from pymc_rbm.machine.parameters import check_unit, restricted_sizes
from pymc_rbm.units.binary import Bernoulli

__all__ = ["RBM"]


class RBM(MachineDistribution):
    r"""A restricted Boltzmann machine with its hidden units summed out; all units are 0 or 1 by default.

    .. math::

        p(v) = \frac{e^{-F(v)}}{Z}, \qquad F(v) = -b^\top v - \sum_j \log\left(1 + e^{c_j + (v^\top W)_j}\right),

    the marginal of :math:`p(v, h) \propto \exp(v^\top W h + b^\top v + c^\top h)`. For other units see
    `pymc_rbm.Spin`, `Categorical`, `Binomial`, `Gaussian` and `Rectified`: the logarithm becomes the log-normaliser of
    the hidden unit, and ``-log base(v)`` of the visible one is added.

    Parameters
    ----------
    name : str
        Name of the variable. (`RBM.dist` takes none.)
    W : tensor_like, shape (visible, hidden)
        Weights. As `b` and `c`: arrays, ``pm.Data`` or other random variables, batch axes first. DataArrays are put
        together by name, as in `restricted`.
    b : tensor_like, shape (visible,)
        Visible biases.
    c : tensor_like, shape (hidden,)
        Hidden biases.
    visible, hidden : Unit, default Bernoulli()
        The families of the units, as in ``visible=pmr.Gaussian(sigma), hidden=pmr.Categorical(5)``. A standard
        deviation may be a random variable.
    log_z : float or tensor_like, optional
        log Z, where you know it; it is not checked. By default log Z is

        - the exact, differentiable sum where one side has at most 16 binary units (2¹⁶ states; 20, if all units are
          `Bernoulli` or `Spin` and all rows share biases, .7 ms for 64x13, 40 ms for 24x20), or the integral where
          all units are Gaussian, so that NUTS can sample the weights;
        - where all parameters are constants or data and the machine is larger, left out of the log-density of the
          model that the variable is a factor of, ``model.logp()``, which is then *unnormalised* (as PyMC's CAR is):
          no sampler needs that constant, and none waits for it. Everywhere else it is there: in a mixture of
          ``RBM.dist``, a switch, ``pm.logp(v, value)``, in the rows that ``pm.compute_log_likelihood`` reports of
          observed data without a mask. It is then found once, when the function is compiled, by ``log_partition(...,
          random_seed=0)``, which also tells its error: exactly, where the machine consists of small ones that are not
          coupled (as with W = 0); otherwise as an estimate, with a warning if that is not reliable;
        - otherwise a node that builds but raises `IntractableError` when evaluated or differentiated. `fit` does
          neither, and `anchored` puts an approximation in its place, with a known error.
    sweeps : int, default 1000
        Length of the Markov chain behind one forward draw (``pm.draw``, prior and posterior predictive) of a machine
        that cannot be enumerated. Each row of each draw is a chain of its own from a dispersed start; such draws are
        independent, and as good as the chain is long. Where one side has at most 16 units, draws are exact.
    observed : array_like, DataArray, data frame or masked array, shape (visible,) or (rows, visible), optional
        States of the visible units; of units of several entries (`Categorical`) one number a unit will do. Masked
        entries are sampled, and so is NaN in DataArrays and frames. A DataArray brings its dims, and its coords where
        the model has none; a frame's columns are coords of its units, its index those of its rows, under the names of
        both, or where they have none under the dim of W's rows or ``{name}_unit``, and ``{name}_row``. Where names
        are known already (of W, b and c, or the model's coords), the data are put in their order by name, or refused.
    **kwargs
        ``dims``, ``shape``, ``size``, ``initval`` and the rest as in every PyMC distribution.

    Raises
    ------
    ValueError
        If sizes do not fit, parameters are not finite, data are not states of the units, or the machine cannot be
        normalised (real units on both sides with large weights between them).

    Warns
    -----
    UserWarning
        If a log-density needs log Z of a large machine with constant parameters and its estimate is not reliable, or
        its error larger than 0.05 nats.

    Notes
    -----
    The log-density is -inf where a value is not a state of its unit. ``pm.sample`` starts each chain from a random
    state of its own whose level of activation is random, too (uniform between 0 and 1 for binary units; real units
    start where random hidden ones put them), so that chains can be seen to disagree.

    Hidden units that start alike stay alike: their gradients are the same. ``pm.find_MAP`` starts at the priors' means,
    where all columns of W are: give it ``jitter=True`` (since PyMC 6.4), or use `fit`, which starts at small random
    weights and compares several starts where the maximum is exact.

    References
    ----------
    .. [1] Smolensky, P. (1986). Information processing in dynamical systems: foundations of harmony theory.
    .. [2] Hinton, G. E. (2002). Training products of experts by minimizing contrastive divergence. Neural Computation
       14.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> v = pmr.RBM.dist(np.zeros((6, 3)), np.zeros(6), np.zeros(3))
    >>> pm.draw(v, draws=2, random_seed=1).shape
    (2, 6)
    """

    rv_type = RBMRV
    rv_op = staticmethod(partial(drawn, RBMRV))

    def __new__(
        cls, name, W, b, c, *, visible=None, hidden=None, log_z=None, sweeps=DRAW_SWEEPS, observed=None, dims=None,
        **kwargs,
    ):  # fmt: skip
        """Check the data and add the variable to the model on the context stack."""
        check_unit(visible, "visible")
        check_unit(hidden, "hidden")
        given = named_in_model(W, "W"), named_in_model(b, "b"), named_in_model(c, "c")
        W, b, c, (visible, hidden), labels = together(*given, (visible, hidden), named_in_model)
        n_visible, _ = restricted_sizes(W, b, c)
        unit = visible or Bernoulli()
        observed, dims = cls.checked(name, unit, n_visible, observed, dims, labels, kwargs)
        known = {"visible": unit, "hidden": hidden, "log_z": log_z, "sweeps": sweeps}
        v = super().__new__(cls, name, W, b, c, observed=observed, dims=dims, **known, **kwargs)
        if observed is None:
            add_named_parts(name, v)
        return v

    @classmethod
    def dist(cls, W, b, c, *, visible=None, hidden=None, log_z=None, sweeps=DRAW_SWEEPS, **kwargs):
        """Create the variable outside a model; parameters are those of the class, without a name."""
        machine = restricted(W, b, c, visible, hidden)
        (b, c), W = (layer.bias for layer in machine.layers), machine.couplings[0].weights
        return cls.of_machine(machine, restricted_sizes(W, b, c), log_z=log_z, sweeps=sweeps, **kwargs)
