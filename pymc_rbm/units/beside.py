"""One layer may have units of several families: pixels and a label, real and binary columns, deep machines' layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_rbm.support.arguments import whole_number
from pymc_rbm.units.unit import Unit

__all__ = ["Beside"]


class Beside(Unit):
    """Units of several families in one layer, each family in neighbouring entries.

    ``pmr.Beside((pmr.Bernoulli(), 64), (pmr.Categorical(10), 10))`` is 64 binary units and one of 10 values.
    Given its field every part is what it is alone; log-normalisers and energies add.

    Parameters
    ----------
    *parts : (Unit, int)
        A family and the number of *entries* (not units) that it takes.
    **named : (Unit, int)
        The same with names: ``pmr.Beside(pixel=(pmr.Bernoulli(), 64), label=(pmr.Categorical(10), 10))``. Draws of a
        machine whose visible layer is this have a variable for each name, and `classify` takes one.

    Raises
    ------
    ValueError
        If a part is not a pair of a unit and a number of entries that is a multiple of its width.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> layer = pmr.Beside(pixel=(pmr.Bernoulli(), 2), label=(pmr.Categorical(3), 3))
    >>> machine = pmr.restricted(np.ones((5, 1)), np.zeros(5), np.zeros(1), visible=layer)
    >>> pmr.conditional_visible([1.0], machine).round(2)
    array([0.73, 0.73, 0.33, 0.33, 0.33])
    """

    def __init__(self, *parts: Any, **named: Any):
        families: list[tuple[Unit, int]] = []
        names: list[str | None] = []
        for name, pair in [*((None, x) for x in parts), *named.items()]:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Unit)):
                raise ValueError(
                    "Each part of Beside must be a pair of a unit and a number of entries, as (Bernoulli(), 64) is, "
                    f"got {pair!r}."
                )
            unit, size = pair[0], whole_number("the number of entries", pair[1])
            unit.check_size(size, name or "neighbouring")
            if isinstance(unit, Beside):
                raise ValueError(f"A part of Beside cannot be a Beside, got {unit!r}: write its parts in its place.")
            families.append((unit, size))
            names.append(name)
        if not families:
            raise ValueError(
                "Beside needs at least one part, got none. Pass parts as in Beside((Bernoulli(), 64), "
                "(Categorical(10), 10))."
            )
        self.families, self.names = tuple(families), names
        ends = np.cumsum([n for _, n in families])
        self.slices = [slice(int(end) - n, int(end)) for (_, n), end in zip(families, ends, strict=True)]
        self.size = int(ends[-1])

    def __repr__(self):
        pairs = [f"({unit!r}, {n})" for unit, n in self.families]
        shown = [pair if name is None else f"{name}={pair}" for name, pair in zip(self.names, pairs, strict=True)]
        return f"Beside({', '.join(shown)})"

    def __eq__(self, other):
        return isinstance(other, Beside) and (self.families, self.names) == (other.families, other.names)

    def __hash__(self):
        return hash((self.families, tuple(self.names)))

    def named_parts(self) -> dict[str, slice]:
        """Return the entries of the parts that have names."""
        return {name: where for name, where in zip(self.names, self.slices, strict=True) if name is not None}

    # ------------------------------------------------------------------------------------------------ what units are

    @property
    def dtype(self):
        """The narrowest type that holds the states of all parts."""
        return np.result_type(*(unit.dtype for unit, _ in self.families)).name

    @property
    def quadratic(self):  # type: ignore[override]  # in other units an attribute of the class
        """Whether some part is quadratic."""
        return any(unit.quadratic for unit, _ in self.families)

    @property
    def integrable(self):  # type: ignore[override]  # in other units an attribute of the class
        """Whether all parts are integrable."""
        return all(unit.integrable for unit, _ in self.families)

    @property
    def middle(self):
        """The middle of each entry's unit."""
        return np.concatenate([np.full(n, unit.middle) for unit, n in self.families])

    @property
    def support(self):
        """The values, in words."""
        return "; ".join(f"{unit.support} in {n} entries" for unit, n in self.families)

    @property
    def remedy(self):
        """What to do with data that have other values, part by part."""
        return " ".join(dict.fromkeys(unit.remedy for unit, _ in self.families if unit.remedy))

    @property
    def states(self):
        """None, because the parts have different values: see the units in `parts`."""
        return None

    @property
    def finite(self):
        """Whether all parts are finite."""
        return all(unit.finite for unit, _ in self.families)

    @property
    def ends(self):
        """The least and the greatest value of each entry."""
        each = [np.repeat(np.reshape(unit.ends, (2, 1)), n, axis=1) for unit, n in self.families]
        low, high = np.concatenate(each, axis=1)
        return low, high

    # ----------------------------------------------------------------------------------------------------- structure

    def parts(self, size):
        """Return the families with the numbers of their entries."""
        return list(self.families)

    def check_size(self, size, side):
        """Refuse a layer of another size."""
        if size not in (None, self.size):
            raise ValueError(
                f"{size} {side} entries do not fit {self!r}, whose parts have {self.size} entries in all. Give the "
                f"parts {size} entries in all."
            )

    def at(self, entries):
        """Return the units that take the given entries, which must be numbers in ascending order."""
        entries, found = np.asarray(entries), []
        for (unit, _), where in zip(self.families, self.slices, strict=True):
            own = entries[(entries >= where.start) & (entries < where.stop)] - where.start
            if own.size:
                found.append((unit.at(own), int(own.size)))
        return found[0][0] if len(found) == 1 else Beside(*found)

    @property
    def parameter_names(self):  # type: ignore[override]  # in other units an attribute of the class
        """The names of the parts' parameters, each followed by the position of its part."""
        return tuple(f"{name}_{i}" for i, (unit, _) in enumerate(self.families) for name in unit.parameter_names)

    @property
    def parameters(self):
        """The parts' parameters, each with one number an entry of the layer: 1 at the entries of other parts."""
        return tuple(
            self._widened(p, where)
            for (unit, _), where in zip(self.families, self.slices, strict=True)
            for p in unit.parameters
        )

    def changed(self, change, entries=slice(None)):
        """Return the units with changed parameters, each of the entries of its part."""
        each = zip(self.families, self.slices, strict=True)
        return self._like((unit.changed(change, where), n) for (unit, n), where in each)

    def with_parameters(self, parameters):
        """Return the units with other parameters, each a scalar or one an entry of the layer."""
        given, pairs = iter(parameters), []
        for (unit, n), where in zip(self.families, self.slices, strict=True):
            own = unit.with_parameters([next(given) for _ in unit.parameters])
            pairs.append((own.at(where), n))
        return self._like(pairs)

    def _like(self, pairs: Any) -> Beside:
        """Return the parts with the names of these."""
        out = Beside(*pairs)
        out.names = self.names
        return out

    def _widened(self, p: Any, where: slice) -> Any:
        if not np.ndim(p):
            return p
        p = p if isinstance(p, Variable) else np.asarray(p)
        batch = [p.shape[i] for i in range(p.ndim - 1)]
        before, after = (*batch, where.start), (*batch, self.size - where.stop)
        if isinstance(p, Variable):
            ones = pt.ones if batch else np.ones  # numba takes three seconds for what fills an array with a number
            return pt.concatenate([ones(before, p.dtype), p, ones(after, p.dtype)], axis=-1)
        return np.concatenate([np.ones(before), p, np.ones(after)], axis=-1)

    # ----------------------------------------------------------------------------------------------------- delegation

    def _each(self, x: Any):
        return [(unit, x[..., where]) for (unit, _), where in zip(self.families, self.slices, strict=True)]

    def contains(self, x):
        """Whether each entry belongs to a unit that has one of the values of its part."""
        return _joined(unit.contains(own) for unit, own in self._each(x))

    def log_base(self, x):
        """Return the parts' ``log base(x)``."""
        return _joined(unit.log_base(own) for unit, own in self._each(x))

    def log_normaliser(self, field):
        """Return the parts' log-normalisers, one value a unit."""
        return _joined(unit.log_normaliser(own) for unit, own in self._each(field))

    def mean(self, field):
        """Return the parts' means."""
        return _joined(unit.mean(own) for unit, own in self._each(field))

    def sample(self, field, rng):
        """Draw the parts one after the other."""
        drawn = []
        for unit, own in self._each(field):
            rng, x = unit.sample(own, rng)
            drawn.append(x.astype(self.dtype))
        return rng, _joined(drawn)

    def dispersed(self, shape, rng):
        """Draw the parts one after the other, each at a level of its own."""
        drawn = []
        for unit, n in self.families:
            rng, x = unit.dispersed((*tuple(shape)[:-1], n), rng)
            drawn.append(x.astype(self.dtype))
        return rng, _joined(drawn)

    def bias_of_mean(self, mean):
        """Return the parts' biases."""
        return np.concatenate([unit.bias_of_mean(own) for unit, own in self._each(np.asarray(mean))], axis=-1)

    def scaled(self, x):
        """Return the parts' scaled states."""
        return _joined(unit.scaled(own) for unit, own in self._each(x)) if self.quadratic else x

    def curvature(self, x):
        """Return the parts' curvatures."""
        return _joined(unit.curvature(own) for unit, own in self._each(pt.as_tensor(x)))

    def heated(self, beta):
        """Return the units with every part heated."""
        return self._like((unit.heated(beta), n) for unit, n in self.families)

    def offset(self, bias):
        """Return the parts' offsets."""
        return _joined(unit.offset(own) for unit, own in self._each(pt.as_tensor(bias)))

    def level(self, mean):
        """Return the parts' levels."""
        return _joined(unit.level(own) for unit, own in self._each(mean))


def _joined(parts: Any) -> Any:
    """Return the parts side by side, as an array where all are arrays."""
    parts = list(parts)
    concatenate = pt.concatenate if any(isinstance(x, Variable) for x in parts) else np.concatenate
    return concatenate(parts, axis=-1)
