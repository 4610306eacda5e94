"""Learning without chance: where log Z is exact, L-BFGS finds the maximum of the objective, and Newton's last digits.

L-BFGS compares values of the objective. Near the maximum these differ by the square of the gradient, so that in
floating point with unit roundoff u it ends with a gradient of about √u. Newton's method on *gradient = 0* compares
gradients and has no such floor: its equations are solved by Krylov iterations (Knoll & Keyes 2004), which need
no Hessian, and stay orthogonal to the directions in which the objective is constant (a one-hot layer has one a unit).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import scipy

from pymc_rbm.support.reentrant import compiled

__all__ = ["NOWHERE", "ROUGH_ITERATIONS", "SHARE_LEFT", "Ascent", "left_in_words"]

TOLERANCES = {"float64": 1e-10, "float32": 2e-6}
"""The largest entry of the gradient, in nats a row, down to which the climb goes: what rounding allows."""
ROUGH_ITERATIONS, ROUGH_CHANGE, ROUGH_GRADIENT = 300, 1e-9, 1e-5
"""The limits of climbs from which the best start is chosen."""
SHARE_LEFT = 0.01
"""A climb has converged where no more than this share of the statistical error is left to gain."""
MEMORY = 30
"""How many pairs of updates L-BFGS keeps: many, because they are free of noise and cost little."""
MOST_NEWTON, EVALUATIONS = 30, 4000
"""The most steps of Newton's method, and how many evaluations it has with both solvers together, or twice those of the
climb. Where weights grow without end it never arrives."""
SOLVERS = "minres", "lgmres"
"""The solvers of Newton's equations, tried in turn: the first is for symmetric equations, which these nearly are."""


def left_in_words(left: float) -> str:
    """Return what is left to gain, to go on a sentence about a climb; nothing where it is not known."""
    return f": by its last steps {left:.1e} nats a row are left to gain" if np.isfinite(left) else ""


class End(NamedTuple):
    """Where a climb ended.

    Attributes
    ----------
    gradient : float
        The largest entry of the gradient, in nats a row.
    left : float
        What is left to gain, in nats a row, by the curvature H that L-BFGS met: half of gᵀH⁻¹g, Newton's decrement.
        NaN while its memory is not full: at a saddle, where climbs begin, the first steps say little.
    polished : bool
        Whether Newton's method moved the parameters after the last iteration.
    """

    gradient: float
    left: float
    polished: bool
    tolerance: float

    def record(self, statistical_error: float) -> dict[str, float]:
        """Return what the result of `fit` says of it; ``converged`` is 1 where what is left does not matter."""
        converged = self.gradient <= 10 * self.tolerance or self.left <= SHARE_LEFT * statistical_error
        return {"largest_gradient": self.gradient, "left_to_gain": self.left, "converged": int(converged)}


NOWHERE = End(np.nan, np.nan, False, 0.0)
"""The end of a climb that did not begin."""


@dataclass
class Ascent:
    """Maximise ``goal``, a graph of shared variables ``parameters``, which are left at the best point found."""

    goal: pt.TensorVariable
    parameters: list
    compile_kwargs: dict
    by: Callable[..., Any] = pm.compile
    """What compiles the objective."""
    interrupted: Callable[[], bool] = bool
    """A function that is called between the steps of Newton's method, and returns True to end them without result."""
    also: Sequence[pt.TensorVariable] = ()
    """Graphs of the parameters whose values `here` returns after that of the goal."""

    def __post_init__(self):
        slopes = pt.grad(self.goal, self.parameters, disconnected_inputs="ignore")
        single = "float32" in [x.dtype for x in (self.goal, *self.parameters)]
        self._dtype = "float32" if single else "float64"
        self._lowest: tuple[float, np.ndarray] | None = None
        self._left = 0
        """How many evaluations Newton's method has left."""
        self._flattest: tuple[float, np.ndarray] = np.inf, np.empty(0)
        self._last: tuple[np.ndarray, list[float]] = np.empty(0), []
        self._function = compiled([], [self.goal, *self.also, *slopes], by=self.by, **self.compile_kwargs)
        self._function()

    @property
    def tolerance(self) -> float:
        """The largest entry of the gradient down to which the climb goes, by the precision of parameters."""
        return TOLERANCES[self._dtype]

    def value(self) -> float:
        """Return the objective where the parameters are, in nats a row."""
        return float(self._function()[0])

    def here(self) -> list[float]:
        """Return the goal and the values of ``also`` where the parameters are; the last evaluation may know them."""
        x = self._joined([p.get_value(borrow=True) for p in self.parameters])
        if not np.array_equal(x, self._last[0]):
            self._last = x, [float(v) for v in self._function()[: 1 + len(self.also)]]
        return self._last[1]

    def place(self, values: list[np.ndarray]) -> None:
        """Put the parameters there."""
        self._put(self._joined(values))

    def value_at(self, values: list[np.ndarray]) -> float:
        """Return the objective there, and leave the parameters where they are."""
        here = [p.get_value() for p in self.parameters]
        self.place(values)
        found = self.value()
        self.place(here)
        return found

    def rough(
        self, start: list[np.ndarray], moving: list[np.ndarray] | None = None, most: int = ROUGH_ITERATIONS
    ) -> float:
        """Return the objective that a rough climb from ``start`` reaches, or -inf where it is not defined.

        ``start`` has one array a parameter; entries that are not ``moving`` stay. The parameters are left where the
        climb ends, or where it is `interrupted`.
        """
        moves = 1.0 if moving is None else self._joined(moving)

        def descent(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self._descent(x)
            return value, slope * moves

        def callback(intermediate_result: Any) -> None:
            if self.interrupted():
                raise StopIteration

        x, self._lowest = self._joined(start), None
        options = self._options(most, ROUGH_CHANGE, ROUGH_GRADIENT)
        try:
            end = scipy.optimize.minimize(descent, x, jac=True, method="L-BFGS-B", callback=callback, options=options)
            self._put(end.x)
            return -float(end.fun)
        except FloatingPointError:
            return -np.inf
        finally:
            self._lowest = None

    def climb(self, most: int, after_each: Callable[[], bool]) -> End:
        """Run at most ``most`` iterations, then Newton's method.

        ``after_each`` is called after every iteration, at its parameters; a true value stops the ascent there.
        """
        stopped = False

        def callback(intermediate_result: Any) -> None:
            nonlocal stopped
            self._put(intermediate_result.x)
            stopped = after_each()
            if stopped:
                raise StopIteration

        start = self._joined([p.get_value() for p in self.parameters])
        # In single precision the last digits of the objective are lost before those of its gradient.
        least = 0.0 if self._dtype == "float64" else float(np.finfo(self._dtype).eps)
        options = self._options(most, least, self.tolerance)
        end = scipy.optimize.minimize(
            self._descent, start, jac=True, method="L-BFGS-B", callback=callback, options=options
        )
        found, self._left = end.x, max(EVALUATIONS, 2 * end.nfev)
        for solver in () if stopped or end.nit >= most else SOLVERS:  # Newton's method works only near the maximum
            if abs(self._descent(found)[1]).max() > self.tolerance:
                found = self._polished(found, solver)
        self._put(found)
        slope = self._descent(found)[1]
        left = float(slope @ end.hess_inv.dot(slope) / 2) if end.nit > MEMORY else np.nan
        return End(float(abs(slope).max()), left, found is not end.x, self.tolerance)

    def _polished(self, x: np.ndarray, solver: str) -> np.ndarray:
        """Return where Newton's method from ``x`` ends, if the gradient is smaller there, else ``x``."""
        self._flattest = np.inf, x
        try:
            with np.errstate(invalid="ignore"):  # SciPy divides infinite tolerances, which gives NaN
                better = scipy.optimize.newton_krylov(
                    lambda y: self._slope(y, x), x, f_tol=self.tolerance, maxiter=MOST_NEWTON, method=solver,
                    rdiff=None if self._dtype == "float64" else np.sqrt(np.finfo(self._dtype).eps),
                )  # fmt: skip
        except (scipy.optimize.NoConvergence, ValueError) as error:
            better = error.args[0] if isinstance(error, scipy.optimize.NoConvergence) else x
        before, after = (self._descent(y) for y in (x, better))
        # A root may be a saddle, so the objective must not have fallen.
        margin = 1e-9 if self._dtype == "float64" else 10 * np.finfo(self._dtype).eps
        improves = abs(after[1]).max() < abs(before[1]).max() and after[0] <= before[0] + margin * (1 + abs(before[0]))
        return better if improves else x

    def _slope(self, x: np.ndarray, before: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self.interrupted() or self._left < 0:
            raise scipy.optimize.NoConvergence(before if self._left >= 0 else self._flattest[1])
        slope = self._descent(x)[1]
        self._flattest = min(self._flattest, (float(abs(slope).max()), x), key=itemgetter(0))
        return slope

    @staticmethod
    def _options(most: int, change: float, gradient: float) -> dict[str, Any]:
        return {"maxiter": most, "maxfun": 100 * most, "maxcor": MEMORY, "ftol": change, "gtol": gradient}

    @staticmethod
    def _joined(values: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(x) for x in values]).astype("float64")

    def _put(self, x: np.ndarray) -> None:
        used = 0
        for p in self.parameters:
            old = p.get_value(borrow=True)
            p.set_value(x[used : used + old.size].reshape(old.shape).astype(old.dtype))
            used += old.size

    def _descent(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the objective and its gradient; where it is not defined, a slope back to where it was."""
        self._put(x)
        values = self._function()
        told, slopes = values[: 1 + len(self.also)], values[1 + len(self.also) :]
        self._last, value = (x.copy(), [float(v) for v in told]), told[0]
        slope = np.concatenate([np.ravel(s) for s in slopes]).astype("float64")
        if np.isfinite(value) and np.isfinite(slope).all():
            if self._lowest is None or -value <= self._lowest[0]:
                self._lowest = -float(value), x.copy()
            return -float(value), -slope
        if self._lowest is None:
            raise FloatingPointError(
                f"The objective is {value} at the start values, not finite. Give others with start=."
            )
        lowest, where = self._lowest
        back = x - where
        return lowest + 1.0, 2 * back / max(back @ back, 1e-300)
