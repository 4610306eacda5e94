"""The general Boltzmann machine, one layer coupled to itself, is a random variable of PyMC."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable

from pymc_rbm.distributions.arguments import named_in_model
from pymc_rbm.distributions.base import MachineDistribution, drawn
from pymc_rbm.distributions.operations import DRAW_SWEEPS, BoltzmannMachineRV
from pymc_rbm.machine.colouring import classes_of, own_entries
from pymc_rbm.machine.machine import Coupling, Layer, Machine
from pymc_rbm.machine.ordering import NameIt, general_together, named
from pymc_rbm.machine.parameters import check_couplings, check_layer, check_unit, general_size
from pymc_rbm.support.arguments import known_values
from pymc_rbm.support.labels import Labels, positions
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.unit import Unit

__all__ = ["BoltzmannMachine"]


class BoltzmannMachine(MachineDistribution):
    r"""A general Boltzmann machine: any units of its one layer may be coupled, and all units are 0 or 1 by default.

    .. math::

        p(x) = \frac{e^{-E(x)}}{Z}, \qquad E(x) = -\tfrac{1}{2} x^\top U x - b^\top x,

    U symmetric and zero on the diagonal, so that the ½ counts each pair once. Units that are never observed are its
    hidden units: mask their entries in ``observed``. Learning then samples both phases, the hidden units given each
    row of data (persistent chains, one a row) and all units of the free particles (Ackley, Hinton & Sejnowski 1985).
    Other units turn it into a Potts model (`Categorical`), a Gaussian graphical model (`Gaussian`) or a mixed one
    (`Beside`).

    Parameters
    ----------
    name : str
        Name of the variable. (`BoltzmannMachine.dist` takes none.)
    U : tensor_like, shape (units, units)
        Couplings. Numbers must be symmetric, with zeros on the diagonal (in blocks, where a unit has several entries).
        A random U may have a prior on all entries: (U + Uᵀ)/2 is used, with these zeros.
    b : tensor_like, shape (units,)
        Biases.
    unit : Unit, default Bernoulli()
    pattern : array_like of bool, shape (units, units), optional
        Which couplings there are; all others are zero. Units that are not coupled are updated at once, in as many
        blocks as a greedy colouring has colours (two on a square lattice), which is faster. Default: where U is
        numbers, its entries that are not zero; else all. With more than 6 colours units are updated one by one. The
        statistic ``blocks`` of `BlockGibbs` says how many blocks there are.
    log_z, sweeps, observed, **kwargs
        As in `RBM`. log Z is exact up to 20 binary units (.2 ms for 18, with its gradient), so that NUTS can sample the
        couplings; draws of machines of more than 16 are ends of Markov chains.

    Raises
    ------
    ValueError
        If sizes do not fit, U is not such a matrix, data are not states of the units, or the machine cannot be
        normalised.

    References
    ----------
    .. [1] Ackley, D. H., Hinton, G. E., Sejnowski, T. J. (1985). A learning algorithm for Boltzmann machines. Cognitive
       Science 9, 147-169.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> x = pmr.BoltzmannMachine.dist(np.zeros((6, 6)), np.zeros(6), unit=pmr.Spin())
    >>> pm.draw(x, draws=2, random_seed=1).shape
    (2, 6)
    """

    rv_type = BoltzmannMachineRV
    rv_op = staticmethod(partial(drawn, BoltzmannMachineRV))

    def __new__(
        cls, name, U, b, *, unit=None, pattern=None, log_z=None, sweeps=DRAW_SWEEPS, observed=None, dims=None, **kwargs
    ):
        """Check the data and add the variable to the model on the context stack."""
        check_unit(unit, "unit")
        given = named_in_model(U, "U"), named_in_model(b, "b")
        U, b, unit, labels = general_together(*given, unit or Bernoulli(), named_in_model)
        pattern = _pattern_in_order(pattern, labels, named_in_model)
        observed, dims = cls.checked(name, unit, general_size(U, b), observed, dims, labels, kwargs)
        known = {"unit": unit, "pattern": pattern, "log_z": log_z, "sweeps": sweeps}
        return super().__new__(cls, name, U, b, observed=observed, dims=dims, **known, **kwargs)

    @classmethod
    def dist(cls, U, b, *, unit=None, pattern=None, log_z=None, sweeps=DRAW_SWEEPS, **kwargs):
        """Create the variable outside a model; parameters are those of the class, without a name."""
        check_unit(unit, "unit")
        U, b, unit, labels = general_together(named(U, "U"), named(b, "b"), unit or Bernoulli())
        pattern = _pattern_in_order(pattern, labels, named)
        size = general_size(U, b)
        if U is None or b is None:
            raise TypeError("BoltzmannMachine needs U and b: got None. Give an array or a variable.")
        if size is None:
            raise ValueError(
                "The number of units must be known, but neither U nor b has a fixed length. Give U or b a fixed length."
            )
        check_layer(unit, size, "visible")
        coupling = Coupling(0, 0, *_couplings(U, unit, size, pattern))
        machine = Machine((Layer(unit, b),), (coupling,))
        return cls.of_machine(machine, [size], log_z=log_z, sweeps=sweeps, **kwargs)


def _couplings(U: Any, unit: Unit, size: int, pattern: Any) -> tuple[Any, Any]:
    """Return U, checked or made symmetric, and the classes of units that a sweep updates at once."""
    inside, numbers = own_entries(unit, size), known_values(U)
    allowed = ~inside if pattern is None else _checked_pattern(pattern, size) & ~inside
    if numbers is not None:
        check_couplings(numbers, allowed, pattern is not None, inside)
    if numbers is not None and (isinstance(U, Constant) or not isinstance(U, Variable)):
        return np.asarray(numbers, dtype="float64"), classes_of(numbers if pattern is None else allowed, unit)
    U = pt.as_tensor(U)
    return pt.where(allowed, (U + U.mT) / 2, np.asarray(0, dtype=U.dtype)), classes_of(allowed, unit)


def _pattern_in_order(pattern: Any, labels: Labels, name_it: NameIt) -> Any:
    """Return the pattern as an array in the order of the units' names."""
    if pattern is None:
        return None
    x, wanted = name_it(pattern, "pattern"), labels.coords.get(labels.visible)
    value = x.value
    for axis, its in zip((-2, -1), x.labels[-2:], strict=False):
        order = None if its is None or wanted is None else positions(its, wanted, "pattern's units", "U")
        value = value if order is None else np.take(value, order, axis)
    return value


def _checked_pattern(pattern: Any, size: int) -> np.ndarray:
    pattern = np.asarray(pattern) != 0
    if pattern.shape != (size, size):
        raise ValueError(
            f"pattern must be a symmetric matrix of shape ({size}, {size}), got shape {pattern.shape}. Give one row "
            "and one column for each unit."
        )
    if (pattern != pattern.T).any():
        raise ValueError("pattern must be a symmetric matrix, got one that is not. Pass pattern | pattern.T.")
    return pattern
