"""Kernels called from Python, node by node, and how little is compiled around them."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.link.numba.linker import NumbaLinker
from pytensor.link.vm import VMLinker
from pytensor.tensor.math import Sum
from pytensor.tensor.shape import SpecifyShape

import pymc_rbm as pmr
from pymc_rbm.kernels import calls
from pymc_rbm.kernels.operations import BinaryDot, ColumnSums, SweepKernel, UnitConditionals
from pymc_rbm.learning.loop import Run
from pymc_rbm.sampling.conditionals import log_conditional
from pymc_rbm.sampling.sweep import sweeps
from pymc_rbm.support.modes import INTERPRETED, by_kernels


def numbers(visible, hidden, dtype="float64"):
    rng = np.random.default_rng(3)
    return [rng.normal(0, 1, shape).astype(dtype) for shape in ((visible, hidden), visible, hidden)]


def ops(function):
    return [type(node.op) for node in function.maker.fgraph.toposort()]


@pytest.mark.numba
def test_the_same_draws_as_in_a_compiled_graph():
    parameters, v = numbers(6, 4), np.zeros((40, 6), "int8")
    rng, x = pt.random.rng("rng"), pt.matrix(dtype="int8")
    (new, _), next_rng = sweeps(pmr.restricted(*parameters), [x, None], rng, 3)
    found = []
    for by in (by_kernels, pytensor.function):
        function, generator = by([rng, x], [next_rng, new]), np.random.default_rng(5)
        generator, first = function(generator, v)
        found.append([first, *function(generator, first)[1:]])
        assert SweepKernel in ops(function)
        assert isinstance(function.maker.linker, VMLinker if by is by_kernels else NumbaLinker)
    np.testing.assert_array_equal(*found)
    assert (found[0][0] != found[0][1]).any()
    assert (v == 0).all()


@pytest.mark.numba
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conditionals_against_enumeration(dtype):
    """The other value of a unit has the rest of the probability; all rows of five units, each unit."""
    W, b, c = numbers(5, 19, dtype)
    rows = np.array(list(itertools.product((0, 1), repeat=5)), "int8")
    weight = {tuple(v): np.exp(b @ v) * np.prod(1 + np.exp(c + v @ W)) for v in rows}
    v, unit = pt.matrix(dtype="int8"), pt.lvector()
    function = by_kernels([v, unit], log_conditional(pmr.restricted(W, b, c), v, unit))
    assert ops(function) == [BinaryDot, UnitConditionals]
    for u in range(5):
        expected = []
        for row in rows:
            other = row.copy()
            other[u] = 1 - row[u]
            expected.append(np.log(weight[tuple(row)] / (weight[tuple(row)] + weight[tuple(other)])))
        np.testing.assert_allclose(
            function(rows, np.full(len(rows), u)), expected, rtol=0, atol=1e-12 if dtype == "float64" else 2e-5
        )
    for wrong in (5, -1):
        with pytest.raises(IndexError, match="number of a visible unit"):
            function(rows[:2], np.array([0, wrong]))


def test_spins_are_left_to_the_definition():
    v, unit = pt.matrix(dtype="int8"), pt.lvector()
    machine = pmr.restricted(*numbers(5, 4), pmr.Spin(), pmr.Spin())
    value = log_conditional(machine, v, unit)
    rows = np.array(list(itertools.product((-1, 1), repeat=5)), "int8")
    by, plain = (f([v, unit], value) for f in (by_kernels, lambda *x: pytensor.function(*x, mode=INTERPRETED)))
    assert UnitConditionals not in ops(by)
    units = np.arange(len(rows)) % 5
    np.testing.assert_allclose(by(rows, units), plain(rows, units), atol=1e-12)


def test_found_again_on_disk(monkeypatch):
    """As in the next process: what was kept names a module that can be imported."""
    x = pt.matrix(dtype="int8")
    for _ in range(2):
        monkeypatch.setattr(calls, "_known", {})
        by_kernels([x], BinaryDot(False)(x, pt.constant(np.ones((3, 2)))))(np.ones((4, 3), "int8"))
        [found] = calls._known.values()
    assert sum(found.stats.cache_hits.values()) == 1
    assert not found.stats.cache_misses


@pytest.mark.numba
def test_other_back_ends_and_loops_are_compiled_as_ever():
    x = pt.vector()
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        assert by_kernels([x], x + 1).maker.mode.linker is pytensor.compile.get_default_mode().linker
    loop = pytensor.scan(lambda y: y + x, outputs_info=[x], n_steps=3, return_updates=False)
    assert isinstance(by_kernels([x], loop).maker.linker, NumbaLinker)


@pytest.mark.numba
def test_what_numba_compiles_for_a_first_fit(monkeypatch):
    """One graph, the update, without checks of shapes that are known and generic sums; all the rest is interpreted."""
    compiled, convert = [], NumbaLinker.fgraph_convert

    class ReachedError(Exception):
        """Learning would begin."""

    def note(self, fgraph, **options):
        compiled.append([type(node.op) for node in fgraph.apply_nodes])
        return convert(self, fgraph, **options)

    def reached(*_):
        raise ReachedError

    monkeypatch.setattr(NumbaLinker, "fgraph_convert", note)
    monkeypatch.setattr(Run, "_learn", reached)
    with pm.Model():
        W = pm.Normal("W", 0, pm.HalfNormal("scale"), shape=(20, 15))
        rows = (np.random.default_rng(1).random((300, 20)) < 0.4).astype("int8")
        pmr.RBM("v", W, pm.Flat("b", shape=20), pm.Flat("c", shape=15), observed=rows)
        with pytest.raises(ReachedError):
            pmr.fit(1, progressbar=False)
    [update] = compiled
    assert SweepKernel in update
    assert not {SpecifyShape, Sum} & set(update)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sums_over_rows_as_pytensor_adds_them(dtype):
    rng, x = np.random.default_rng(4), pt.matrix(dtype=dtype)
    values = rng.normal(0, 100, (300, 7)).astype(dtype)
    outputs = [ColumnSums()(x), x.sum(0)]
    found = pytensor.function([x], outputs)(values)
    np.testing.assert_array_equal(*found)
    assert found[0].dtype == dtype
    np.testing.assert_array_equal(found[0], np.add.accumulate(values.astype(float))[-1].astype(dtype))


FITS = """
import numpy as np, pymc as pm, pymc_rbm as pmr
with pm.Model():
    v = np.eye(4, dtype=int).repeat(5, axis=0)
    pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 3)), pm.Flat("b", shape=4), pm.Flat("c", shape=3), observed=v)
    pmr.fit(3, method="pcd", learning_rate=0.1, progressbar=False, random_seed=1)
"""


@pytest.mark.slow
def test_a_fit_compiles_nothing_in_the_next_process():
    """Numba says what it writes to its cache: the second process has nothing to add."""
    environment = os.environ | {"NUMBA_DEBUG_CACHE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", FITS]
    said = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert "loaded from" in said[1].stdout
    assert "saved to" not in said[1].stdout
