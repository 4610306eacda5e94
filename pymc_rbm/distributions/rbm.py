"""A restricted Boltzmann machine and its hidden units are random variables of PyMC."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.distribution import Distribution, _support_point
from pymc.distributions.shape_utils import maybe_resize
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.arguments import lengths_of, named_in_model, same_rows, with_dims
from pymc_rbm.distributions.data_of_graphs import check_data_of
from pymc_rbm.distributions.factors import less_log_z, log_z_where_it_matters
from pymc_rbm.distributions.imputed import of_rows
from pymc_rbm.distributions.lookup import labels_in, named_machines, rbm_of
from pymc_rbm.distributions.operations import DRAW_SWEEPS, RBMRV, HiddenRV, MachineRV, core_of
from pymc_rbm.distributions.readings import uncast
from pymc_rbm.machine.door import aligned
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Layer, Machine, restricted
from pymc_rbm.machine.normalisable import check_normalisable
from pymc_rbm.machine.parameters import check_layer, check_unit, names_of, restricted_sizes, together
from pymc_rbm.sampling.dispersal import spread
from pymc_rbm.support.arguments import known_values, shape_of, shown, whole_number
from pymc_rbm.support.labels import SIDES, Labels
from pymc_rbm.support.received import receive
from pymc_rbm.units.beside import Beside
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.states import unit_data
from pymc_rbm.units.unit import Unit

__all__ = ["RBM", "Hidden", "MachineDistribution", "add_named_parts", "as_float", "drawn"]


@_logprob.register(MachineRV)
def _machine_logp(op, values, rng, size, *parameters, **kwargs):
    """Return ``-F(v) - log Z`` of states of the units, -inf of other values."""
    [value] = values
    check_data_of(values)
    machine = op.machine(*parameters)
    log_z, by_row = log_z_where_it_matters(op, value, machine, *parameters)
    inside = machine.layers[VISIBLE].unit.contains(uncast(value))
    log_p = -machine.free_energy(pt.where(inside, value, 0))
    log_p = pt.where(inside.all(-1), log_p if by_row else log_p - log_z, -np.inf)
    log_p = of_rows(maybe_resize(log_p, None if isinstance(size.type, NoneTypeT) else size), value)
    return less_log_z(log_p, log_z) if by_row else log_p


@_support_point.register(MachineRV)
def _dispersed_state(op, rv, rng, size, *parameters):
    """Return a random, dispersed state, from which a chain starts."""
    shape = [rv.shape[i] for i in range(rv.ndim)]
    return spread(op.machine(*parameters), shape, pt.random.shared_rng(seed=None))[0]


class MachineDistribution(Distribution):
    """The base class of all distributions of a machine's visible layer."""

    @classmethod
    def checked(
        cls, name: str, unit: Unit, size: int | None, observed: Any, dims: Any, labels: Labels, kwargs: dict
    ) -> tuple[Any, Any]:
        """Check the arguments that all machines have; return observed and dims as PyMC takes them."""
        if kwargs.get("transform") is not None:
            raise ValueError(
                f"{cls.__name__} got transform=, but its values are the states of its units: leave it out."
            )
        if kwargs.get("total_size") is not None:
            raise ValueError(
                f"{cls.__name__} got total_size=, but pymc_rbm.fit makes minibatches itself: leave it out, and pass "
                "batch_size= to fit."
            )
        if observed is not None:
            observed, dims = with_dims(name, observed, dims, labels, unit, size)
            observed = unit_data(observed, unit, size)
        if kwargs.get("initval") is not None and not isinstance(kwargs["initval"], str | Variable):
            units = 0 if size is None else unit.count(size)
            start = aligned(receive(kwargs["initval"], "initval"), labels, "initval", units)
            kwargs["initval"] = unit_data(start.values, unit, size, "initval")
        return observed, dims

    @classmethod
    def of_machine(cls, machine: Machine, sizes: Any, *, log_z=None, sweeps=DRAW_SWEEPS, shape=None, **kwargs):
        """Create the variable of a machine with the parameters that the user gave."""
        if shape is not None:
            lengths = lengths_of(shape)
            if lengths and None not in (lengths[-1], sizes[VISIBLE]) and lengths[-1] != sizes[VISIBLE]:
                [coupling] = machine.couplings
                raise ValueError(
                    f"The shape {lengths} does not fit {'UW'[len(sizes) - 1]} {shape_of(coupling.weights)}: shape, or "
                    f"dims, must end with the visible axis, of length {sizes[VISIBLE]}."
                )
        lacking = [name for name, p in zip(names_of(machine).flat(), machine.parameters, strict=False) if p is None]
        if lacking:
            raise TypeError(f"{cls.__name__} needs {' and '.join(lacking)}: got None. Give an array or a variable.")
        log_z = checked_log_z(log_z)
        own = [p for x, n, side in zip(machine.layers, sizes, SIDES, strict=False) for p in _one_each(x, n, side)]
        _check_normalisable(machine)
        given = [*replace(machine.by_kind, own=tuple(own)).weights_first(), *(() if log_z is None else (log_z,))]
        known = {"template": machine.template, "sizes": tuple(sizes), "sweeps": whole_number("sweeps", sweeps)}
        try:
            return super().dist(
                [as_float(p) for p in given], shape=shape, knows_log_z=log_z is not None, **known, **kwargs
            )
        except ValueError as error:
            if "incompatible with batched dimensions" not in str(error):
                raise
            shapes = ", ".join(str(shape_of(p)) for p in given)
            raise ValueError(
                f"The shape of {cls.__name__}, or of its data, has fewer axes than its parameters have batch axes, "
                f"whose shapes are {shapes}. Give one row of v for each row of the biases."
            ) from None


def drawn(
    rv_type: type[MachineRV], *parameters: Any, size: Any = None, rng: Any = None, **known: Any
) -> TensorVariable:
    """Apply the Op ``rv_type``; with this argument filled in, it is the ``rv_op`` of a distribution."""
    rng = pt.random.shared_rng(seed=None) if rng is None else rng
    return rv_type(**known)(*parameters, size=size, rng=rng, return_next_rng=True)[1]


def add_named_parts(name: str, v: TensorVariable) -> None:
    """Add a Deterministic ``{name}_{part}`` to the model for each part of the visible layer that has a name."""
    unit = v.owner.op.template.layers[VISIBLE].unit
    for part, entries in (unit.named_parts() if isinstance(unit, Beside) else {}).items():
        pm.Deterministic(f"{name}_{part}", v[..., entries])


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

        - the exact, differentiable sum where one side has at most 16 binary units (2¹⁶ states), or the integral where
          all units are Gaussian, so that NUTS can sample the weights;
        - where all parameters are constants or data and the machine is larger, left out of the log-density of the
          model that the variable is a factor of, ``model.logp()``, which is then *unnormalised* (as PyMC's CAR is):
          no sampler needs that constant, and none waits for it. Everywhere else it is there: in a mixture of
          ``RBM.dist``, a switch, ``pm.logp(v, value)``, in the rows that ``pm.compute_log_likelihood`` reports of
          observed data without a mask. It is then found once, when the function is compiled, by ``log_partition(...,
          random_seed=0)``, which also tells its error: exactly, where the machine consists of small ones that are not
          coupled (as with W = 0); otherwise as an estimate, with a warning if that is not reliable;
        - otherwise a node that builds but raises `IntractableError` when evaluated or differentiated. `fit` does
          neither.
    sweeps : int, default 1000
        Length of the Markov chain behind one forward draw (``pm.draw``, prior and posterior predictive) of a machine
        that cannot be enumerated. Each row of each draw is a chain of its own from a dispersed start; such draws are
        independent, and as good as the chain is long. Where one side has at most 16 units, draws are exact.
    observed : array_like, DataArray, data frame or masked array, shape (visible,) or (rows, visible), optional
        States of the visible units; of units of several entries (`Categorical`) one number a unit will do. Masked
        entries are sampled, and so is NaN in DataArrays and frames. A DataArray brings its dims, and its coords where
        the model has none; a frame's columns are coords of its units. Where names are known already (of W, b and c, or
        the model's coords), the data are put in their order by name, or refused.
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
    where all columns of W are: give it ``jitter=True``, or use `fit`, which starts at small random weights and compares
    several starts where the maximum is exact.

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


class Hidden(Distribution):
    r"""Hidden units of an RBM given its visible units.

    .. math::

        p(h \mid v) = \prod_j \sigma(f_j)^{h_j} (1 - \sigma(f_j))^{1 - h_j}, \qquad f = c + v^\top W.

    `RBM` sums the hidden units out; this variable brings them back, so that ``RBM`` and ``Hidden`` together have the
    joint density p(v, h). `BlockGibbs` samples both.

    Parameters
    ----------
    name : str
    v : variable
        A model's `RBM` variable (observed, free or masked).
    observed : array_like, optional
        States of the hidden units, shape (…, hidden): then v is sampled given these hidden units.
    **kwargs
        ``dims`` and the rest as in every PyMC distribution.

    Raises
    ------
    ValueError
        If ``v`` is not an RBM variable, or the observed data are not states of its hidden units.
    """

    rv_type = HiddenRV
    rv_op = HiddenRV.rv_op

    def __new__(cls, name, v, *, observed=None, dims=None, **kwargs):
        """Check the data and add the variable to the model on the context stack."""
        if observed is not None:
            op = _with_hidden(v).owner.op
            unit, size = op.template.layers[HIDDEN].unit, op.sizes[HIDDEN]
            observed, dims = with_dims(name, observed, dims, _hidden_labels(v), unit, size)
            observed = unit_data(observed, unit, size, side="hidden")
            same_rows(v, shape_of(observed))
        return super().__new__(cls, name, v, observed=observed, dims=dims, **kwargs)

    @classmethod
    def dist(cls, v, **kwargs):
        """Create the variable outside a model."""
        rv = _with_hidden(v)
        given, layers = rv.owner.op.given(rv), rv.owner.op.template.layers
        [W], (_, c) = given.weights, given.biases
        if kwargs.get("shape") is not None:
            same_rows(v, lengths_of(kwargs["shape"]))
        parameters = [core_of(W, None, None), *(core_of(p, None) for p in (c, *given.own))]
        return super().dist([v, *parameters], units=tuple(layer.unit for layer in layers), **kwargs)

    def support_point(rv, rng, size, v, *parameters):  # noqa: N805  PyMC calls it with the variable
        """Return a random state given v."""
        machine = rv.owner.op.machine(*parameters)
        field = pt.broadcast_to(machine.field(HIDDEN, [v, None]), rv.shape)
        return machine.layers[HIDDEN].unit.sample(field, pt.random.shared_rng(seed=None))[1]


@_logprob.register(HiddenRV)
def _hidden_logp(op, values, rng, size, v, *parameters, **kwargs):
    """Return log p(h | v) of states of the hidden units, -inf of other values."""
    [value] = values
    check_data_of(values)
    machine = op.machine(*parameters)
    unit, field = machine.layers[HIDDEN].unit, machine.field(HIDDEN, [v, None])
    inside = unit.contains(uncast(value))
    h = pt.where(inside, value, 0)
    log_p = (unit.log_base(h) + h * field).sum(-1) - unit.log_normaliser(field).sum(-1)
    log_p = pt.where(inside.all(-1), log_p, -np.inf)
    return of_rows(maybe_resize(log_p, None if isinstance(size.type, NoneTypeT) else size), value)


def _hidden_labels(v: Any) -> Labels:
    """Return the names of the hidden units of ``v``, in the place of the visible units' names."""
    model = pm.modelcontext(None)
    if v.name not in named_machines(model):
        return Labels()
    labels = labels_in(model, v.name)
    return replace(labels, visible=labels.hidden, hidden=labels.visible)


def _with_hidden(v: Any) -> TensorVariable:
    """Return the RBM variable behind ``v``, which must have hidden units."""
    rv = rbm_of(v)
    if len(rv.owner.op.template.layers) < 2:
        raise ValueError(
            f"{v} has no hidden layer, because its hidden units are masked entries of its own layer. Read them from "
            f"the draws of {v}."
        )
    return rv


def checked_log_z(log_z: Any) -> Any:
    """Return log Z as a variable, an array or None; refuse what is not a finite number, or finite numbers."""
    log_z = getattr(log_z, "estimate", log_z)
    if log_z is None or isinstance(log_z, Variable):
        return log_z
    values = np.ma.filled(receive(log_z, "log_z").values.astype("float64"), np.nan)
    if not np.isfinite(values).all() or not values.size:
        raise ValueError(
            f"log_z must be a finite number, or one a row, got {shown(log_z)}. Leave it out to have it found."
        )
    return values


def _one_each(layer: Layer, size: int | None, side: str) -> list[TensorVariable]:
    """Return the parameters of a layer's units with one entry for each unit; ValueError where their number differs."""
    check_layer(layer.unit, size, side, shape_of)
    bias = pt.as_tensor(layer.bias)
    each = [pt.as_tensor(p.values if isinstance(p, xr.DataArray) else p) for p in layer.unit.parameters]
    return [
        p if p.ndim and shape_of(p)[-1] == size else p * pt.ones(bias.shape[-1], dtype=pytensor.config.floatX)
        for p in each
    ]


def _check_normalisable(machine: Machine) -> None:
    """Refuse, where all parameters are numbers of one machine, what cannot be normalised."""
    values = machine.by_kind.map(known_values)
    if all(p is not None and p.ndim <= n for p, n in zip(values.flat(), values.core_ndims.flat(), strict=True)):
        check_normalisable(machine.with_parameters(values).numeric())


def as_float(x: Any) -> TensorVariable:
    """Return a parameter as a tensor of PyTensor's floating type."""
    x = pt.as_tensor(x.values if isinstance(x, xr.DataArray) else x)
    return x if x.dtype == pytensor.config.floatX else x.astype(pytensor.config.floatX)
