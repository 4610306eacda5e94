"""A machine is layers of units and couplings between them, with one energy.

With states ``x_1 … x_L`` of the layers,

    E(x) = - Σ_i bias_iᵀ x_i - Σ_(i<j) x_iᵀ W_ij x_j - ½ Σ_i x_iᵀ U_i x_i - Σ_i log base_i(x_i),
    p(x) = exp(-E(x)) / Z.

A coupling U of a layer to itself is symmetric, with zeros between the entries of one unit; the ½ counts each pair once.
Units with a scale of their own (`Unit.scaled`) enter the products with x/σ² for x, and add `Unit.offset`.
A restricted Boltzmann machine has two layers and one coupling (Smolensky 1986; Hinton 2002). Everything
else in the package (conditionals, free energy, annealing, learning) follows from the methods here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.colouring import classes_of
from pymc_rbm.machine.ordering import OneOrder, named, of_boltzmann, of_restricted
from pymc_rbm.machine.parameters import check_layer, check_numbers, check_unit, sizes_that_fit, words_for
from pymc_rbm.machine.positions import Parameters
from pymc_rbm.support.arguments import listed
from pymc_rbm.support.labels import SIDES, Labels
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.unit import Unit, logsumexp

__all__ = ["Coupling", "Layer", "Machine", "boltzmann", "logsumexp", "restricted"]

State = Sequence[Any]
VISIBLE, HIDDEN = 0, 1


@dataclass(frozen=True)
class Layer:
    """Units of one family with their biases, shape ``(…, size)``."""

    unit: Unit
    bias: Any

    def energy(self, x: Any) -> TensorVariable:
        """Return the layer's own energy, ``-bias·x - log base(x)`` and the unit's offset, summed over the layer."""
        x = pt.as_tensor(x)
        own = self.unit.offset(self.bias) - self.bias * self.unit.scaled(x) - self.unit.log_base(x)
        return own.sum(-1)

    def log_normaliser(self, field: Any) -> TensorVariable:
        """Return ``log Σ_x exp(field·x + log base(x))`` minus the unit's offset, summed over the layer."""
        return self.unit.log_normaliser(field).sum(-1) - self.unit.offset(self.bias).sum(-1)

    @property
    def log_z(self) -> TensorVariable:
        """The log-normaliser of the layer without couplings."""
        return self.log_normaliser(self.unit.scaled(pt.as_tensor(self.bias)))


@dataclass(frozen=True)
class Coupling:
    """Weights ``(…, size of first, size of second)`` between two layers, given by their indices.

    A layer may be coupled to itself. Then ``classes`` divides its entries into groups that are not coupled inside,
    and a sweep updates one group after the other; None where each unit is a class of its own.
    """

    first: int
    second: int
    weights: Any
    classes: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Machine:
    """Layers of units and the couplings between them.

    Parameters and states may be arrays or symbolic; results are symbolic. Batch axes come first in states and
    parameters and broadcast against each other. Layer 0 is the visible one.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted(np.zeros((3, 2)), np.zeros(3), np.zeros(2))
    >>> isinstance(machine, pmr.Machine), len(machine.layers), len(machine.couplings)
    (True, 2, 1)
    """

    layers: tuple[Layer, ...]
    couplings: tuple[Coupling, ...]
    labels: Labels | None = field(default=None, compare=False, repr=False)
    """What the units are called, where the parameters came with names; None in machines that are made from this one."""

    def __post_init__(self):
        """Refuse what is not one machine: whoever has a Machine has one whose numbers fit and are finite."""
        layers, couplings, labels = _structure(self.layers, self.couplings)
        self._set(layers, couplings, self.labels or labels)
        self._check_sizes()
        check_numbers(self)

    def _set(self, layers: tuple[Layer, ...], couplings: tuple[Coupling, ...], labels: Labels | None = None) -> Machine:
        self.__dict__.update(layers=layers, couplings=couplings, labels=labels)
        return self

    def _check_sizes(self) -> None:
        """Refuse arrays whose shapes do not fit each other, or the units."""
        biases = [x.bias.shape if isinstance(x.bias, np.ndarray) else None for x in self.layers]
        weights = [c.weights.shape if isinstance(c.weights, np.ndarray) else None for c in self.couplings]
        sizes = sizes_that_fit(biases, weights, [(c.first, c.second) for c in self.couplings])
        for i, (layer, size) in enumerate(zip(self.layers, sizes, strict=True)):
            if size is not None:
                check_layer(layer.unit, size, _side(i, len(sizes)))

    @property
    def by_kind(self) -> Parameters:
        """All parameters by kind: biases of layers, weights of couplings, then the parameters of the layers' units."""
        own = tuple(p for layer in self.layers for p in layer.unit.parameters)
        return Parameters(tuple(x.bias for x in self.layers), tuple(c.weights for c in self.couplings), own)

    @property
    def parameters(self) -> list[Any]:
        """All parameters as one list: `by_kind`, flat."""
        return self.by_kind.flat()

    def with_parameters(self, parameters: Sequence[Any] | Parameters) -> Machine:
        """Return the same machine with other parameters, in the order of `parameters`.

        Sizes are checked, numbers are not (`check_numbers` does): learning may leave them NaN, and says so itself.
        """
        flat = parameters.flat() if isinstance(parameters, Parameters) else parameters
        names = [layer.unit.parameter_names for layer in self.layers]
        needed = len(self.layers) + len(self.couplings) + sum(map(len, names))
        if len(flat) != needed:
            raise ValueError(
                f"Expected {needed} parameters, got {len(flat)}. Give biases, weights and parameters "
                "of units, as in Machine.parameters."
            )
        given = iter(flat)
        biases = [next(given) for _ in self.layers]
        couplings = tuple([Coupling(c.first, c.second, next(given), c.classes) for c in self.couplings])
        units = [x.unit.with_parameters([next(given) for _ in n]) for x, n in zip(self.layers, names, strict=True)]
        machine = object.__new__(Machine)._set(tuple(map(Layer, units, biases)), couplings)
        machine._check_sizes()
        return machine

    def slopes(self, of: Callable[[Machine], TensorVariable]) -> list[TensorVariable]:
        """Return the derivatives of ``of(machine)`` by each parameter, all others held.

        They are partial ones also where one parameter is an expression of another.
        """
        given = [pt.as_tensor(p) for p in self.parameters]
        own = [p.type() for p in given]
        found = pt.grad(of(self.with_parameters(own)), own)
        return graph_replace(found, dict(zip(own, given, strict=True)), strict=False)

    @property
    def template(self) -> Machine:
        """The machine with None for its parameters: a key of compiled functions."""
        return self.with_parameters([None] * len(self.parameters))

    def symbolic(self, rows: bool = False, dtype: str = "float64") -> tuple[Machine, list[TensorVariable]]:
        """Return the machine with symbolic inputs for parameters, shaped as those of `numeric`, and these inputs.

        With ``rows``, each row of a state has biases of its own.
        """
        ndims = self.by_kind.core_ndims
        if rows:
            ndims = replace(ndims, biases=(2,) * len(ndims.biases))
        inputs = ndims.map(lambda ndim: pt.tensor(dtype=dtype, shape=(None,) * ndim))
        return self.with_parameters(inputs), inputs.flat()

    @property
    def dtype(self) -> str:
        """The type of the numbers: float32 if all parameters are float32, otherwise float64."""
        return "float32" if all(np.asarray(p).dtype == np.float32 for p in self.parameters) else "float64"

    def numeric(self, dtype: str = "float64") -> Machine:
        """Return the machine with arrays for parameters; parameters of units get one number an entry of the layer."""
        new = self.by_kind.map(lambda p: np.ascontiguousarray(p, dtype=dtype))
        shapes = [np.shape(layer.bias) for layer in self.layers for _ in layer.unit.parameters]
        own = tuple(np.array(np.broadcast_to(p, shape)) for p, shape in zip(new.own, shapes, strict=True))
        return self.with_parameters(replace(new, own=own))

    def without_couplings(self, biases: Sequence[Any]) -> Machine:
        """Return the machine of independent units of the same families with the given biases, one array a layer."""
        return Machine(tuple(Layer(layer.unit, b) for layer, b in zip(self.layers, biases, strict=True)), ())

    def at(self, x: Any, layer: int = VISIBLE) -> list[Any]:
        """Return a joint state in which only one layer is known: None stands for the others."""
        return [x if i == layer else None for i in range(len(self.layers))]

    def own_coupling(self, layer: int) -> Coupling | None:
        """Return the coupling of a layer to itself, or None."""
        return next((c for c in self.couplings if c.first == c.second == layer), None)

    def blocks(self, last: int | None = None) -> list[list[int]]:
        """Return groups of layers that are independent given the others, in the order of a sweep.

        With ``last``, the group of that layer comes at the end.

        Inside a layer that is coupled to itself a sweep goes through `Coupling.classes`.

        The groups are coloured greedily from the last layer to the first, so that a restricted machine updates its
        hidden units first and a draw ends with the visible ones.
        """
        blocks: list[list[int]] = []
        coupled = {frozenset((c.first, c.second)) for c in self.couplings}
        for layer in reversed(range(len(self.layers))):
            apart = [block for block in blocks if coupled.isdisjoint(frozenset((layer, other)) for other in block)]
            if apart:
                apart[0].append(layer)
            else:
                blocks.append([layer])
        return sorted(blocks, key=lambda block: last in block)

    def count_blocks(self, sizes: Sequence[int | None]) -> int:
        """Return how many groups of units a sweep updates one after the other, given the sizes of the layers."""
        total = 0
        for block in self.blocks():
            own = [(i, c) for i in block if (c := self.own_coupling(i)) is not None]
            inside = [self.layers[i].unit.count(sizes[i] or 0) if c.classes is None else len(c.classes) for i, c in own]
            total += max(inside, default=1)
        return total

    def without_own_coupling(self, layer: int) -> Machine:
        """Return the machine without the coupling of ``layer`` to itself."""
        return replace(self, couplings=tuple(c for c in self.couplings if c is not self.own_coupling(layer)))

    def field(self, layer: int, state: State, entries: Any = None) -> TensorVariable:
        """Return the field on the units of ``layer``, or on some of its entries: their `inflow`, scaled."""
        unit = self.layers[layer].unit
        return (unit if entries is None else unit.at(entries)).scaled(self.inflow(layer, state, entries))

    def inflow(self, layer: int, state: State, entries: Any = None) -> TensorVariable:
        """Return bias plus weighted sum of the other units' states, for units of ``layer`` or some entries."""
        field = pt.as_tensor(self.layers[layer].bias)
        field = field if entries is None else field[..., entries]
        for c in self.couplings:
            if layer in (c.first, c.second):
                weights = pt.as_tensor(c.weights) if layer == c.second else pt.as_tensor(c.weights).mT
                weights = weights if entries is None else weights[..., entries]
                field = field + self._sent(c.first if layer == c.second else c.second, state, weights)
        return field

    def _sent(self, layer: int, state: State, weights: TensorVariable) -> TensorVariable:
        return _times(self.layers[layer].unit.scaled(pt.as_tensor(state[layer]).astype(weights.dtype)), weights)

    def energy(self, state: State) -> TensorVariable:
        """Return ``E(x)`` of a joint state of all layers, one value a row."""
        dtype = pt.as_tensor(self.layers[0].bias).dtype
        own = [layer.energy(pt.as_tensor(x).astype(dtype)) for layer, x in zip(self.layers, state, strict=True)]
        return sum(own, pt.as_tensor(0.0, dtype=dtype)) - sum(self.product(c, state) for c in self.couplings)

    def product(self, c: Coupling, state: State) -> TensorVariable:
        """Return ``xᵀWx'`` of a coupling's two layers; half of it where they are the same, which counts a pair once."""
        sent = self._sent(c.first, state, pt.as_tensor(c.weights))
        product = (sent * self.layers[c.second].unit.scaled(pt.as_tensor(state[c.second]))).sum(-1)
        return product / 2 if c.first == c.second else product

    def free_energy(self, x: Any, layer: int = VISIBLE) -> TensorVariable:
        """Return ``F(x) = -log Σ exp(-E)`` over all layers but ``layer``, one value a row.

        For a restricted machine, ``F(v) = -bᵀv - log base(v) - Σ_j log_normaliser_j(c_j + (vᵀW)_j)``, so
        ``log p(v) = -F(v) - log Z``; ``layer=1`` gives the free energy of a hidden state.
        """
        x = pt.as_tensor(x)
        return self._free_energy(x, layer, self._inflows(x, layer))

    def _inflows(self, x: TensorVariable, layer: int) -> list[TensorVariable | None]:
        """Return the `inflow` of every layer but ``layer``, whose state is ``x``."""
        if not self.others_sum_out(layer):
            raise ValueError(
                "The free energy has a closed form only where the layers that are summed out are not coupled, "
                "neither to each other nor to themselves. Use pymc_rbm.log_likelihood or log_conditional, which sum "
                "over their states."
            )
        return [None if i == layer else self.inflow(i, self.at(x, layer)) for i in range(len(self.layers))]

    def _free_energy(self, x: TensorVariable, layer: int, inflows: Sequence[Any]) -> TensorVariable:
        free_energy, own = self.layers[layer].energy(x), self.own_coupling(layer)
        if own is not None:
            free_energy = free_energy - self.product(own, self.at(x, layer))
        for other, inflow in zip(self.layers, inflows, strict=True):
            if inflow is not None:
                free_energy = free_energy - other.log_normaliser(other.unit.scaled(inflow))
        return free_energy

    def others_sum_out(self, layer: int) -> bool:
        """Whether the other layers are independent given this one, so that it has a free energy."""
        return all(layer in (c.first, c.second) for c in self.couplings)

    def mean(self, layer: int, state: State) -> TensorVariable:
        """Return the mean of the units of ``layer`` given the other layers' states."""
        return self.layers[layer].unit.mean(self.field(layer, state))

    def log_conditional(self, v: Any, unit: Any) -> TensorVariable:
        """Return ``log p(v_unit | all other visible units)``, hidden units summed out, one value a row.

        Parameters
        ----------
        v : tensor_like, shape (rows, visible)
        unit : tensor_like of int, shape (rows,)
            Which unit of each row. The visible units must be finite.
        """
        v, visible = pt.as_tensor(v), self.layers[VISIBLE].unit
        if not visible.finite:
            raise ValueError(
                f"Conditionals of single units need visible units with finitely many states, got {visible!r}."
            )
        unit, rows, inflows = pt.as_tensor(unit), pt.arange(v.shape[0]), self._inflows(v, VISIBLE)
        log_sums, before, start = [], 0, 0
        for family, size in visible.parts(v.shape[-1]):
            n = size // family.width
            own = unit if family is visible else pt.clip(unit - before, 0, n - 1)
            entries = start + own[:, None] * family.width + np.arange(family.width)
            alternatives = []
            for x in family.states or ():
                changed = v[rows[:, None], entries].set(x)
                moved = self._moved(inflows, entries, x - v[rows[:, None], entries])
                alternatives.append(-self._free_energy(changed, VISIBLE, moved))
            inside = True if family is visible else (unit >= before) & (unit < before + n)
            log_sum = logsumexp(pt.stack(alternatives), axis=0)
            log_sums.append(log_sum if inside is True else pt.switch(inside, log_sum, 0))
            before, start = before + n, start + size
        return -self._free_energy(v, VISIBLE, inflows) - sum(log_sums)

    def _moved(self, inflows: Sequence[Any], entries: TensorVariable, change: TensorVariable) -> list[Any]:
        """Return the ``inflows`` after a ``change`` of some entries of each visible row, at little cost."""
        moved = list(inflows)
        for c in self.couplings:
            if c.first != c.second:
                weights, other = pt.as_tensor(c.weights), c.second
                if other == VISIBLE:
                    weights, other = weights.mT, c.first
                moved[other] += (change.astype(weights.dtype)[..., None] * weights[entries]).sum(-2)
        return moved

    def interpolate(self, base: Machine, beta: Any) -> Machine:
        """Return the machine with energy ``(1 - β)·E_base + β·E``, as annealing and tempering need it.

        ``base`` has the same layers and no couplings. (The units' offsets are
        those of the biases at β, which adds a constant.)
        """
        ends = zip(base.layers, self.layers, strict=True)
        biases = tuple((1 - beta) * start.bias + beta * layer.bias for start, layer in ends)
        weights = tuple(beta * c.weights for c in self.couplings)
        return self.with_parameters(replace(self.by_kind, biases=biases, weights=weights))


def restricted(W: Any, b: Any, c: Any, visible: Unit | None = None, hidden: Unit | None = None) -> Machine:
    """Return the restricted machine ``E(v, h) = -vᵀWh - bᵀv - cᵀh``, Bernoulli units by default.

    Parameters
    ----------
    W : array_like, shape (visible, hidden)
    b : array_like, shape (visible,)
    c : array_like, shape (hidden,)
        DataArrays are put together by name: axes and entries of b and c are put in the order of W, and W is transposed
        where the dims of b and c say so. Data are then aligned with these names, too. All three may be variables.
    visible, hidden : Unit, default Bernoulli()

    Raises
    ------
    ValueError
        If sizes or names do not fit, or numbers are not finite.
    TypeError
        If ``visible`` or ``hidden`` is not a unit.

    Examples
    --------
    >>> import xarray as xr, pymc_rbm as pmr
    >>> b = xr.DataArray([0.5, 1.5], dims="item", coords={"item": ["tired", "sad"]})
    >>> W = xr.DataArray([[1.0], [2.0]], dims=("item", "unit"), coords={"item": ["sad", "tired"]})
    >>> machine = pmr.restricted(W, b, [0.0])  # b is put in the order of W, by name
    >>> pmr.conditional_visible([0], machine).round(2)
    array([0.82, 0.62])
    """
    for name, unit in (("visible", visible), ("hidden", hidden)):
        check_unit(unit, name)
    W, b, c, (of_v, of_h), labels = of_restricted(W, b, c, (visible, hidden))
    return Machine(
        (Layer(of_v or Bernoulli(), b), Layer(of_h or Bernoulli(), c)), (Coupling(VISIBLE, HIDDEN, W),), labels
    )


def boltzmann(U: Any, b: Any, unit: Unit | None = None, classes: Any = None) -> Machine:
    """Return the general machine ``E(x) = -½ xᵀUx - bᵀx``, Bernoulli units by default.

    ``U`` is symmetric, with zeros between the entries of one unit; ValueError where its numbers are not. ``classes``
    are groups of entries that are not coupled inside, which a sweep updates one after the other; by default they follow
    from the zeros of U where U is an array, and are single units otherwise. DataArrays are put together by name, as in
    `restricted`.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> machine = pmr.boltzmann([[0.0, 1.0], [1.0, 0.0]], [0.0, 0.0])
    >>> pmr.energy([1, 1], None, machine)
    array(-1.)
    """
    check_unit(unit, "unit")
    U, b, unit, labels = of_boltzmann(U, b, unit or Bernoulli())
    if classes is None and isinstance(U, np.ndarray):
        classes = classes_of(U, unit)
    return Machine((Layer(unit, b),), (Coupling(VISIBLE, VISIBLE, U, classes),), labels)


def _structure(layers: Any, couplings: Any) -> tuple[tuple[Layer, ...], tuple[Coupling, ...], Labels | None]:
    """Return layers and couplings, with arrays for lists, and labels; refuse what does not make one machine."""
    layers, couplings = listed("layers", layers, "Layers"), listed("couplings", couplings, "Couplings")
    for x, kind in [*((x, Layer) for x in layers), *((x, Coupling) for x in couplings)]:
        if not isinstance(x, kind):
            raise TypeError(
                f"A Machine takes a tuple of Layers and a tuple of Couplings, got {x!r} in the place of a "
                f"{kind.__name__}. Make a machine of arrays by pymc_rbm.restricted(W, b, c)."
            )
    known = range(len(layers))
    for c in couplings:
        if not all(isinstance(i, int | np.integer) and i in known for i in (c.first, c.second)):
            raise ValueError(
                f"A coupling joins layers {c.first!r} and {c.second!r}, but the machine has {len(layers)} layers. "
                f"Give first and second numbers from 0 to {len(layers) - 1}."
            )
        if c.classes is not None and c.first != c.second:
            raise ValueError(
                "A coupling of two layers takes no classes, which only a layer that is coupled to "
                "itself has. Leave classes out."
            )
    pairs = [(c.first, c.second) for c in couplings]
    twice = [pair for pair in pairs if sum(set(pair) == set(other) for other in pairs) > 1]
    if twice:
        raise ValueError(
            f"Layers {twice[0][0]} and {twice[0][1]} are coupled by {len(twice)} couplings: give one, with the sum of "
            "the weights (transposed where first and second change places)."
        )
    for i, layer in enumerate(layers):
        check_unit(layer.unit, _side(i, len(layers)), default=False)
    names, _ = words_for(len(layers), pairs)
    given = zip(names.flat(), [*(x.bias for x in layers), *(c.weights for c in couplings)], strict=True)
    order = OneOrder({name: named(x, name) for name, x in given})
    sides, units = [], []
    for i, (layer, bias) in enumerate(zip(layers, names.biases, strict=True)):
        ends = zip(names.weights, couplings, strict=True)
        axes = [(name, axis) for name, c in ends for axis, end in ((-2, c.first), (-1, c.second)) if end == i]
        dim, unit = order.with_unit([*axes, (bias, -1)], layer.unit, _side(i, len(layers)), named)
        sides.append(dim)
        units.append(unit or layer.unit)
    visible, hidden = [*sides, "", ""][:2]
    labels = Labels(visible=visible, hidden=hidden, coords=order.coords)
    return (
        tuple(Layer(unit, order.values[name]) for unit, name in zip(units, names.biases, strict=True)),
        tuple(replace(c, weights=order.values[name]) for c, name in zip(couplings, names.weights, strict=True)),
        labels if labels != Labels() and len(layers) < 3 else None,
    )


def _side(layer: int, layers: int) -> str:
    """Return what a layer is called in messages."""
    return f"layer_{layer}" if layers > 2 else SIDES[layer]


def _times(x: Any, weights: TensorVariable) -> TensorVariable:
    """Return ``xᵀ weights`` over the last axis of ``x``, with batch axes on either side."""
    x = pt.as_tensor(x).astype(weights.dtype)
    return pt.dot(x, weights) if weights.ndim == 2 else (x[..., None, :] @ weights)[..., 0, :]
