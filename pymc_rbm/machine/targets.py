"""Models, variables and results stand for a machine, and name its units."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from pymc_rbm.machine.given import is_given
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.parameters import check_numbers
from pymc_rbm.support.labels import Labels

__all__ = ["Labels", "check_alone", "labels_of", "machine_of"]


@singledispatch
def machine_of(target: Any, learned: Any = None) -> Machine:
    """Return the machine, with numbers for parameters, that ``target`` stands for.

    Parameters
    ----------
    target : Machine, RBM variable or PyMC model
        A model must contain exactly one machine. Other types that stand for a machine are registered here.
    learned : DataTree or dict, optional
        What `fit` returned, or values by name, as ``pm.find_MAP`` returns them; needed where the parameters of
        ``target`` are random variables.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> v = pmr.RBM.dist(np.zeros((4, 2)), np.zeros(4), np.zeros(2))
    >>> machine = pmr.machine_of(v)
    >>> [parameter.shape for parameter in machine.parameters]
    [(4,), (2,), (4, 2)]
    """
    hint = " Values of parameters need their model: pass target=model, learned=values." * is_given(target)
    raise TypeError(
        "Expected a Machine, an RBM variable, a PyMC model with one, or what pymc_rbm.fit returned, "
        f"got {type(target).__name__}.{hint}"
    )


@machine_of.register
def _(target: Machine, learned: Any = None) -> Machine:
    check_numbers(target)
    return target


@singledispatch
def check_alone(target: Any, what: str) -> None:
    """Refuse a PyMC model in which anything but hidden units depends on free units, which ``what`` would ignore."""


@singledispatch
def labels_of(target: Any, learned: Any = None) -> Labels:
    """Return the names that ``target`` has for the units of its machine; arguments as in `machine_of`."""
    return Labels()


@labels_of.register
def _(target: Machine, learned: Any = None) -> Labels:
    return target.labels or Labels()
