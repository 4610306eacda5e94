"""The general Boltzmann machine as a random variable: one layer, coupled to itself."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable

from pymc_rbm.checks import check_not_empty, known_values, shape_of
from pymc_rbm.colouring import classes_of, own_entries
from pymc_rbm.distributions import MachineDistribution, drawn
from pymc_rbm.machine import Coupling, Layer, Machine
from pymc_rbm.random_variables import BoltzmannMachineRV
from pymc_rbm.units import Bernoulli, Unit

__all__ = ["BoltzmannMachine"]


class BoltzmannMachine(MachineDistribution):
    r"""General Boltzmann machine: units of one layer, any of them coupled; all units 0 or 1 by default.

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
        Of a random variable (U + Uᵀ)/2 is taken, with such zeros: its prior may be on all entries.
    b : tensor_like, shape (units,)
        Biases.
    unit : Unit, default Bernoulli()
    pattern : array_like of bool, shape (units, units), optional
        Which couplings there are; all others are zero. Units that are not coupled are updated at once, in as many
        blocks as a greedy colouring has colours (two on a square lattice), so that it pays to say so. Default: where U
        is numbers, its entries that are not zero; else all. With more than 6 colours units are updated one by one.
        The statistic ``blocks`` of `BlockGibbs` says how many blocks there are.
    log_z, sweeps, observed, **kwargs
        As in `RBM`. log Z is exact up to 16 binary units; draws of larger machines are ends of Markov chains.

    Raises
    ------
    ValueError
        If sizes do not fit, U is no such matrix, data are no states of the units, or the machine cannot be normalised.

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

    def __new__(cls, name, U, b, *, unit=None, observed=None, dims=None, **kwargs):
        """Check the data and add the variable to the model on the context stack."""
        unit = unit or Bernoulli()
        observed, dims = cls.checked(unit, _size(U, b), observed, dims, kwargs)
        return super().__new__(cls, name, U, b, unit=unit, observed=observed, dims=dims, **kwargs)

    @classmethod
    def dist(cls, U, b, *, unit=None, pattern=None, **kwargs):
        """Create the variable outside of a model. Parameters are those of the class, without a name."""
        unit, size = unit or Bernoulli(), _size(U, b)
        if size is None:
            raise ValueError("The number of units must be known: give U, b or dims a fixed length.")
        unit.check_size(size, "visible")
        coupling = Coupling(0, 0, *_couplings(U, unit, size, pattern))
        return cls.of_machine(Machine((Layer(unit, b),), (coupling,)), [size], **kwargs)


def _size(U: Any, b: Any) -> int | None:
    """The number of entries, or ValueError where the shapes of U and b do not fit."""
    shapes = {"U": shape_of(U), "b": shape_of(b)}
    lengths = {n for n in (*shapes["U"][-2:], *shapes["b"][-1:]) if n is not None}
    if len(shapes["U"]) < 2 or len(shapes["b"]) < 1 or len(lengths) > 1:
        raise ValueError(
            f"The shapes do not fit: U {shapes['U']}, b {shapes['b']}. U is (units, units) and b is (units,)."
        )
    check_not_empty("U", shapes["U"])
    for name, x in (("U", U), ("b", b)):
        values = known_values(x)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity; the parameters of a machine must be finite numbers.")
    return lengths.pop() if lengths else None


def _couplings(U: Any, unit: Unit, size: int, pattern: Any) -> tuple[Any, Any]:
    """U as the energy has it, and its classes: the one place where it is checked or made symmetric."""
    inside, numbers = own_entries(unit, size), known_values(U)
    allowed = ~inside if pattern is None else _checked_pattern(pattern, size) & ~inside
    if numbers is not None:
        _check_symmetric(numbers, allowed, pattern is not None, inside)
    if numbers is not None and (isinstance(U, Constant) or not isinstance(U, Variable)):
        return np.asarray(numbers, dtype="float64"), classes_of(numbers if pattern is None else allowed, unit)
    U = pt.as_tensor(U)
    return pt.where(allowed, (U + U.mT) / 2, np.asarray(0, dtype=U.dtype)), classes_of(allowed, unit)


def _checked_pattern(pattern: Any, size: int) -> np.ndarray:
    pattern = np.asarray(pattern) != 0
    if pattern.shape != (size, size) or (pattern != pattern.T).any():
        raise ValueError(f"pattern must be a symmetric matrix of shape ({size}, {size}), got {pattern.shape}.")
    return pattern


def _check_symmetric(U: np.ndarray, allowed: np.ndarray, given: bool, inside: np.ndarray) -> None:
    """Refuse numbers that are not what the energy takes."""
    asymmetry = np.abs(U - np.swapaxes(U, -1, -2)).max(initial=0)
    if asymmetry > 1e-6 * np.abs(U).max(initial=0):
        raise ValueError(
            f"U must be symmetric, but U and its transpose differ by up to {asymmetry:.3g}. Pass (U + U.T) / 2; or, if "
            "your energy counts each pair in one triangle of U only, U + U.T."
        )
    if np.any(U[..., inside] != 0):
        raise ValueError(
            "U must be zero between a unit and itself (on the diagonal, in blocks where a unit has several entries). "
            "For 0/1 units x² = x: add half of the diagonal to b. For ±1 units it is a constant."
        )
    if given and np.any(U[..., ~allowed] != 0):
        raise ValueError("U has couplings that are not zero where pattern says that there are none.")
