"""What depends on rows of units: each row is judged by itself, in numbers as in the graph."""

import math
import warnings

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref
from options import MASKED
from pytensor.graph.traversal import io_toposort
from scipy.special import logsumexp

import pymc_rbm as pmr
from pymc_rbm.step_methods import conditions, effects, slopes
from pymc_rbm.step_methods import joint_moves as joint
from pymc_rbm.step_methods import proofs as alignment
from pymc_rbm.step_methods import wall_moves as walls
from pymc_rbm.step_methods.blocks import blocks_of, visible_kind

pytestmark = [pytest.mark.interpreted, MASKED]

ROWS = 5
W, B, C = ref.machine(3, 2, scale=0.5, seed=3)
A = np.random.default_rng(1).normal(size=(3, 4))
Y = np.random.default_rng(2).normal(size=ROWS)
COUNTS = np.arange(ROWS) % 4
VOTES = np.tile([2, 1, 1, 0], (ROWS, 1))
ORDER = np.array([3, 1, 4, 0, 2])
softmax = pm.math.softmax


def observe(mean, rows=None):
    pm.Normal("y", mean, 0.5, observed=Y if rows is None else Y[rows])


APART = {
    "softmax": lambda v: pm.Categorical("y", softmax(v @ A, axis=-1), observed=COUNTS),
    "logits": lambda v: pm.Categorical("y", logit_p=v @ A, observed=COUNTS),
    "ordered": lambda v: pm.OrderedLogistic("y", eta=v @ A[:, 0], cutpoints=[-1.0, 0.0, 1.0], observed=COUNTS),
    "multinomial": lambda v: pm.Multinomial("y", 4, softmax(v @ A, axis=-1), observed=VOTES),
    "forbidden": lambda v: pm.Poisson("y", v @ np.array([1.0, -1.0, 0.5]) + 0.6, observed=COUNTS),
    "zero inflated": lambda v: pm.ZeroInflatedPoisson("y", 0.5, pt.exp(v @ A[:, 0]), observed=COUNTS),
    "mixture": lambda v: pm.NormalMixture("y", softmax(v @ A[:, :2], axis=-1), mu=[0.0, 1.0], sigma=1.0, observed=Y),
    "truncated": lambda v: pm.Truncated("y", pm.Normal.dist(v @ A[:, 0], 0.5), lower=-9, upper=9, observed=Y),
    "concatenate": lambda v: observe(pt.concatenate([v, v[:, :1] * v[:, 1:2]], axis=1) @ np.ones(4)),
    "stack": lambda v: observe(pt.stack([v[:, 0], v[:, 1] * v[:, 2]], axis=1).sum(1)),
    "stack in front": lambda v: observe(pt.stack([v[:, 0], v[:, 1] * v[:, 2]]).sum(0)),
    "table": lambda v: observe(pt.as_tensor([0.3, -0.7])[v].prod(-1)),
    "masked dependant": lambda v: pm.Normal("y", v @ A[:, 0], 0.5, observed=np.ma.MaskedArray(Y, np.arange(ROWS) < 2)),
    "order": lambda v: observe((v @ A[:, 0])[ORDER]),
    "groups": lambda v: observe((v @ A[:, 0])[np.array([0, 0, 2, 2, 3])]),
    "some rows": lambda v: observe((v @ A[:, 0])[np.array([4, 1])], slice(2)),
    "data for an index": lambda v: observe((v @ A[:, 0])[pm.Data("order", ORDER)]),
    "loop": lambda v: observe(pt.stack([v[i] @ A[:, 0] for i in range(ROWS)])),
    "terms": lambda v: [pm.Normal(f"y{i}", v[i] @ A[:, 0], 0.5, observed=Y[i]) for i in range(ROWS)],
    "written": lambda v: observe(pt.zeros(ROWS)[ORDER].set((v @ A[:, 0])[ORDER])),
    "added": lambda v: observe(pt.zeros(ROWS)[np.array([1, 1, 3])].inc((v @ A[:, 0])[np.array([2, 2, 3])])),
    "running sum": lambda v: observe(pt.cumsum(v * A[:, 0], axis=1)[:, 1]),
    "einsum": lambda v: observe(pt.einsum("ni,ij,nj->n", v.astype(float), A[:, :3], v.astype(float))),
    "another machine": lambda v: pmr.RBM("u", np.eye(4)[:, :2], v @ A, np.zeros(2), observed=VOTES > 1),
    "hidden biases": lambda v: pmr.RBM("u", np.eye(4)[:, :2], np.zeros(4), v @ A[:, :2], observed=VOTES > 1),
}

JOINED = {
    "sum": lambda v: pm.Normal("y", v.sum(), 1.0, observed=3.0),
    "softmax over rows": lambda v: pm.Potential("y", (softmax(v @ A, axis=0) ** 2).sum(1)),
    "neighbours": lambda v: observe((v @ A[:, 0])[:-1] * v[1:, 0], slice(4)),
    "running sum": lambda v: observe(pt.cumsum(v @ A[:, 0])),
    "sorted": lambda v: observe(pt.sort(v @ A[:, 0])),
    "backwards": lambda v: observe(v[:, 0] * v[::-1, 1]),
    "an index of units": lambda v: observe((v @ A[:, 0])[v.sum(1)]),
    "an index that is free": lambda v: observe((v @ A[:, 0])[pm.Categorical("k", np.ones(ROWS) / ROWS, size=ROWS)]),
    "groups": lambda v: observe(pt.zeros(2)[np.array([0, 0, 1, 1, 1])].inc(v @ A[:, 0])[np.array([0, 1])], slice(2)),
    "flat": lambda v: observe(v.ravel()[1:-2].reshape((ROWS - 1, 3)) @ A[:, 0], slice(4)),
    "transposed": lambda v: observe(v.T.reshape((ROWS, 3)) @ A[:, 0]),
    "rolled": lambda v: observe((pt.concatenate([v[1:], v[:1]]) * v) @ A[:, 0]),
    "a mean that is taken off": lambda v: observe(v @ A[:, 0] - (v @ A[:, 0]).mean()),
}


def judged(build, rows=ROWS, **options):
    """What the dependants say of v, by row or of all, as a function of v."""
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C, **({"size": rows} | options))
        build(v)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="BlockGibbs accepts or refuses all")
            [block] = blocks_of(model, [x for x in model.free_RVs if visible_kind(x)])
    return model, block


@pytest.mark.parametrize("case", APART)
def test_rows_are_proved_to_be_apart(case):
    """A changed row changes its own share alone, and the shares are the whole, forbidden states included."""
    model, block = judged(APART[case])
    effect = block.proposals[0]
    start = model.initial_point(random_seed=1)
    names = [x for x in model.value_vars if x.name != "v"]
    x = model["v"].type()
    with model:
        shares = pm.compile([x, *names], effect([x, *effect.layers[1:]])[0], on_unused_input="ignore")
        others = [t for t in [*model.free_RVs, *model.observed_RVs, *model.potentials] if t.name != "v"]
        whole = pm.compile(model.value_vars, sum(t.sum() for t in model.logp(others, sum=False)))
    rng, given, found = np.random.default_rng(0), [start[y.name] for y in names], []
    for _ in range(8):
        state = rng.integers(0, 2, size=(ROWS, 3)).astype("int8")
        own = shares(state, *given)
        assert own.shape == (ROWS,)
        found.append([own.sum(), whole(*(state if y.name == "v" else start[y.name] for y in model.value_vars))])
        for i in range(ROWS):
            new = state.copy()
            new[i] = rng.integers(0, 2, size=3)
            np.testing.assert_array_equal(np.delete(shares(new, *given), i), np.delete(own, i))
    ours, pymcs = np.array(found).T
    possible = np.isfinite(pymcs)
    np.testing.assert_array_equal(np.isfinite(ours), possible)
    np.testing.assert_allclose(np.diff(ours[possible]), np.diff(pymcs[possible]), atol=1e-9)
    assert len(set(pymcs.round(9))) > 3


@pytest.mark.parametrize("case", JOINED)
def test_rows_that_are_joined_are_not_proved_to_be_apart(case):
    _, block = judged(JOINED[case])
    assert block.proposals[0].outputs[0].ndim == 0
    assert block.together[0] == ROWS


def test_whole_rows_that_are_masked_are_apart():
    seen = np.ma.MaskedArray(np.ones((ROWS, 3), int), np.tile(np.arange(ROWS)[:, None] < 3, (1, 3)))
    _, block = judged(APART["forbidden"], size=None, observed=seen)
    assert block.proposals[0].outputs[0].ndim == 1


def test_one_acceptance_for_many_rows_is_said():
    with pm.Model():
        v = pmr.RBM("v", W, B, C, size=12)
        pm.Normal("y", v.sum(), 1.0, observed=3.0)
        with pytest.warns(UserWarning, match="accepts or refuses all 12 rows of v"):
            step = pmr.BlockGibbs(rng=1)
    [(_, most)] = step._ranges
    assert most == pytest.approx(np.log(36))  # of all units
    _, [stats] = step.step({"v": np.zeros((12, 3), "int8")})
    assert stats["rows_together"] == 12
    with pm.Model():
        v = pmr.RBM("v", W, B, C, size=12)
        pm.Normal("y", v @ A[:, 0], 1.0, observed=np.zeros(12))
        _, [stats] = pmr.BlockGibbs(rng=1).step({"v": np.zeros((12, 3), "int8")})
    assert stats["rows_together"] == 1


# ------------------------------------------------------------------------------------- rows that do not hold up others


@pytest.mark.parametrize("rows", [10, 500])
def test_a_forbidden_state_is_refused_by_its_own_row(rows):
    """As many rows move where there are many; they froze together."""
    with pm.Model():
        v = pmr.RBM("v", W, B, C, size=rows)
        pm.Poisson("y", v @ np.array([1.0, 0.7, -1.0]) + 0.5, observed=np.random.default_rng(0).poisson(2, rows))
        step = pmr.BlockGibbs(rng=3)
    start = {"v": np.tile(np.array([0, 1, 0], "int8"), (rows, 1))}
    moved, point = 0.0, start
    for _ in range(6):
        new, _ = step.step(point)
        moved, point = moved + (new["v"] != point["v"]).any(1).mean() / 6, new
    assert moved > 0.5  # judged together, 500 rows are hardly ever all allowed
    assert (point["v"] @ np.array([1.0, 0.7, -1.0]) + 0.5 > 0).all()


def test_a_row_without_a_factor_holds_up_no_other(monkeypatch):
    """Where one row has no Cholesky factor, and so no proposal, it stays, and it alone."""
    rows, real = 50, joint._root

    def failing(curvature, hessian, free):
        root = real(curvature, hessian, free)
        return pt.set_subtensor(root[0], np.nan)

    monkeypatch.setattr(joint, "_root", failing)
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C, visible=pmr.Rectified(), size=rows)
        pm.Poisson("y", pt.exp(v @ np.array([1.0, 0.7, -0.5])), observed=np.full(rows, 2))
        step = pmr.BlockGibbs(rng=3)
    start = model.initial_point(random_seed=1)
    point = start
    for _ in range(5):
        point, _ = step.step(point)
        assert np.isfinite(point["v"]).all()
    moved = (point["v"] != start["v"]).any(1)
    assert not moved[0]
    assert moved[1:].mean() > 0.8


def test_a_row_comes_back_from_far_out_beside_others():
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C, visible=pmr.Rectified(), size=20)
        pm.Poisson("y", pt.exp(v @ np.array([1.0, 0.7, -0.5])), observed=np.full(20, 2))
        step = pmr.BlockGibbs(rng=3)
    point = model.initial_point(random_seed=1)
    point["v"][0] = [30.0, 20.0, 1.0]
    step.setup_chain(rng=1, tune=100, draws=10)
    for _ in range(60):
        point, _ = step.step(point)
    assert point["v"][0].max() < 10  # rectified normal units about fields of a few


# ----------------------------------------------------------------------------------------- additivity, and its check


def two_units(dependant, observed=1.5):
    with pm.Model() as model:
        v = pmr.RBM("v", np.zeros((2, 1)), np.zeros(2), np.zeros(1), visible=pmr.Gaussian())
        pm.Normal("y", dependant(v), 0.3, observed=observed)
    return model


@pytest.mark.parametrize("dependant", [lambda v: v[0] + v[1], lambda v: v[0] * 1.0 + v[1:].sum()])
def test_scalar_pieces_are_joined(dependant):
    """The posterior has variances 1 - 1/2.09 and a covariance of -1/2.09; a product over units has .436 and 0."""
    with two_units(dependant) as model:
        step, point = pmr.BlockGibbs(rng=1), model.initial_point(random_seed=1)
    draws = []
    for _ in range(600):  # independent: each is an exact draw, and W is 0
        point, [stats] = step.step(point)
        assert stats["accepted"] == pytest.approx(1)
        draws.append(point["v"])
    exact = np.eye(2) - 1 / 2.09
    spread = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / len(draws))
    assert (abs(np.cov(np.transpose(draws)) - exact) < 4.5 * spread).all()


@pytest.mark.parametrize(
    ("joins", "expected"),
    [
        (lambda v: (v[0] + v[1]) ** 2, True),
        (lambda v: pt.exp(v[0]) * v[1], True),
        (lambda v: pt.stack([v[0], v[1]]).prod(), True),
        (lambda v: pt.exp(v[0] - v[1]), True),
        (lambda v: pt.where(pt.eq(v[0], 1), v[1], 0), True),
        (lambda v: pt.as_tensor([0.2, 0.5])[v[0]] * v[1], True),
        (lambda v: v[0] ** 2 + pt.exp(v[1]), False),
        (lambda v: pt.exp(v[0]) + v[0] * 3 + v.sum(), False),
        (lambda v: pt.as_tensor([0.2, 0.5])[v[0]] + pt.cos(v[1]), False),
    ],
)
def test_sums_over_scalar_pieces(joins, expected):
    v = pt.vector(dtype="int64", shape=(2,))
    assert (alignment.affine_in(v, joins(v)) is None) == expected


def test_the_check_turns_what_gates_a_term(monkeypatch):
    """By itself, with a proof that always succeeds: an interaction behind a rare gate, or behind a unit of h."""
    monkeypatch.setattr(effects, "log_density_by_entry", lambda x, terms: pt.zeros_like(x, dtype="float64"))
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        h = pmr.Hidden("h", v)
        z = pm.Bernoulli("z", 0.5)
        pm.Normal("y", z * h[0] * v[0] * v[1], 0.3, observed=1.5)
        [block] = blocks_of(model, [model["v"], model["h"]])
    assert not block.offsets
    assert set(block.proposals) == {0, 1}


# ---------------------------------------------------------------------------------------------------- conditions


def test_conditions_are_terms():
    x, s = pt.vector("x"), pt.vector("s")
    with pm.Model():
        term = pm.logp(pm.Normal.dist(x, s), np.zeros(3))
    [bare], limits = conditions.parted([term])
    assert not any(conditions.is_limit(node) for node in _nodes(bare))
    found = [limit.eval({s: [1.0, -1.0, 2.0]}) for limit in limits]
    np.testing.assert_array_equal(found, [[0, -np.inf, 0]])


def test_conditions_that_always_hold_are_none():
    x = pt.vector("x")
    with pm.Model():
        term = pm.logp(pm.Poisson.dist(pt.exp(x)), np.zeros(3))
    assert conditions.parted([term])[1] == []


def test_checks_of_a_part_stay_there():
    """One component's parameters are forbidden: the other one is left, for all entries, as PyMC has it."""
    x = pt.vector("x")
    with pm.Model():
        parts = [pm.logp(pm.Poisson.dist(mu), np.array([1, 2])) for mu in (x, np.array([1.0, 2.0]))]
    both = pt.logaddexp(*parts)
    [bare], limits = conditions.parted([both])
    assert limits == []
    assert bare is both
    assert alignment.axes_of(x, [both])[both] == (None,)
    fine = pt.logaddexp(pm.logp(pm.Poisson.dist(pt.exp(x)), np.array([1, 2])), 0.0)
    assert alignment.axes_of(x, [fine])[fine] == (0,)


def _nodes(y):
    return io_toposort([], [y])


# --------------------------------------------------------------------------------------------------------- slopes


def test_slopes_hold_what_was_drawn():
    x = pt.vector("x")
    rng = pt.random.rng("rng")
    for unit in (pmr.Gaussian(0.7), pmr.Rectified(0.7), pmr.DReLU(1.0, 2.0, 0.3)):
        _, h = pmr.Gaussian().sample(3 * x, rng)
        _, slope = slopes.own_slope(unit, x, h)
        value, field = (
            slope.eval({x: [0.5, 1.5], rng: np.random.default_rng(0)}),
            h.eval({x: [0.5, 1.5], rng: np.random.default_rng(0)}),
        )
        step = 1e-6
        base = [float(unit.log_base(pt.as_tensor(np.array(a))).eval()) for a in (0.5 - step, 0.5 + step)]
        assert value[0] == pytest.approx(field[0] + np.diff(base)[0] / (2 * step), rel=1e-6)


def _gaussian_exact(W, b, c, a, y, sigma):
    n, m = W.shape
    precision = np.block([[np.eye(n), -W], [-W.T, np.eye(m)]])
    precision[:n, :n] += np.outer(a, a) / sigma**2
    covariance = np.linalg.inv(precision)
    return (covariance @ np.r_[b + a * y / sigma**2, c])[:n], covariance[:n, :n]


def gaussian_draws(rows=4000):
    rng = np.random.default_rng(8)
    W, b, c = rng.normal(size=(3, 3)), rng.normal(size=3) / 2, rng.normal(size=3) / 2
    W *= 0.85 / np.linalg.norm(W, 2)  # below 1: normalisable
    a, y = np.array([1.0, 0.7, -0.5]), 0.8
    with pm.Model():
        v = pmr.RBM("v", W, b, c, visible=pmr.Gaussian(), hidden=pmr.Gaussian(), size=rows)
        pm.Normal("y", v @ a, 0.5, observed=np.full(rows, y))
        step = pmr.BlockGibbs(rng=3)
    mean, covariance = _gaussian_exact(W, b, c, a, y, 0.5)
    point = {"v": rng.multivariate_normal(mean, covariance, size=rows)}
    accepted = []
    for _ in range(8):
        point, [stats] = step.step(point)
        accepted.append(stats["accepted"])
    return (point["v"].mean(0) - mean) / np.sqrt(np.diag(covariance) / rows), np.mean(accepted)


def test_real_units_of_both_layers_and_a_regression():
    """Against linear algebra: the draw of h carries no gradient, so that each conditional is exact."""
    z, accepted = gaussian_draws()
    assert accepted == pytest.approx(1)
    assert abs(z).max() < 4.5


def leaking(unit, x, field):
    own = unit.log_base(x) + field * x
    return own, pt.grad(own.sum(), x)


def test_real_units_show_a_slope_that_runs_through_the_draw(monkeypatch):
    monkeypatch.setattr(joint, "own_slope", leaking)
    z, accepted = gaussian_draws()
    assert accepted < 0.98  # where the right one accepts everything
    assert abs(z).max() > 5.5  # where the right one stays below 4.5


@pytest.mark.parametrize("visible", [pmr.Gaussian(), pmr.Rectified()])
@pytest.mark.parametrize("hidden", [pmr.Binomial(3), pmr.Categorical(2)])
def test_hidden_units_whose_draw_has_no_derivative(visible, hidden):
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C, visible=visible, hidden=hidden, size=4)
        pm.Normal("y", v @ A[:, 0], 0.5, observed=Y[:4])
        step = pmr.BlockGibbs(rng=3)
    _, [stats] = step.step(model.initial_point(random_seed=1))
    assert stats["accepted"] == pytest.approx(1)


# ------------------------------------------------- real units that a regression joins, on a grid of states and by sums

CELLS, WIDEST = 90, 9.0
SUMS = {
    "gaussian": (pmr.Gaussian(), np.linspace(-14, 14, 4001), lambda h, c: -((h - c) ** 2) / 2),
    "rectified": (pmr.Rectified(), np.linspace(0, 14, 4001)[1:] - 0.00175, lambda h, c: -((h - c) ** 2) / 2),
    "binomial": (pmr.Binomial(3), np.arange(4.0), lambda h, c: c * h + np.log([math.comb(3, int(k)) for k in h])),
}
"""Hidden units, their values (real ones on a fine grid), and minus their own energy."""


def on_a_grid(one_sided, hidden, W, b, c, a, y):
    """Cells' centres of three visible units of σ = 1, their probabilities and width, given y ~ Normal(v·a, .5)."""
    edges = np.linspace(0.0 if one_sided else -WIDEST, WIDEST, CELLS + 1)
    v = np.stack(np.meshgrid(*3 * [(edges[1:] + edges[:-1]) / 2], indexing="ij"), axis=-1).reshape(-1, 3)
    log_p = -((v - b) ** 2).sum(1) / 2 - ((y - v @ a) / 0.5) ** 2 / 2
    _, h, own = SUMS[hidden]
    for j in range(3):
        field = v @ W[:, j]
        f = np.linspace(field.min(), field.max(), 800)
        log_p += np.interp(field, f, logsumexp(own(h, c[j]) + np.outer(f, h), axis=1))
    p = np.exp(log_p - log_p.max())
    return v, p / p.sum(), edges[1] - edges[0]


def moments_drawn(visible, hidden, rows=4000, steps=3):
    """Deviations of the means of v and of their products from the exact ones after some steps, in standard errors."""
    rng = np.random.default_rng(8)
    W, b, c = abs(rng.normal(size=(3, 3))), rng.normal(size=3) / 2, abs(rng.normal(size=3))
    W *= 0.75 / np.linalg.norm(W, 2)
    a, y = np.array([1.0, 0.7, -0.5]), 0.8
    with pm.Model():
        v = pmr.RBM("v", W, b, c, visible=visible, hidden=SUMS[hidden][0], size=rows)
        pm.Normal("y", v @ a, 0.5, observed=np.full(rows, y))
        step = pmr.BlockGibbs(rng=3, sweeps=2)
    states, p, width = on_a_grid(visible.one_sided, hidden, W, b, c, a, y)
    point = {"v": states[rng.choice(len(p), size=rows, p=p)] + width * (rng.random((rows, 3)) - 0.5)}
    for _ in range(steps):
        point, _ = step.step(point)
    pairs = np.triu_indices(3)
    figures, exact = (np.c_[x, x[:, pairs[0]] * x[:, pairs[1]]] for x in (point["v"], states))
    mean = p @ exact
    spread = np.sqrt(p @ (exact - mean) ** 2)
    mean[3:] += width**2 / 12 * (pairs[0] == pairs[1])  # of a cell
    return (figures.mean(0) - mean) / spread * np.sqrt(rows)


JOINS = [(pmr.Rectified(), "gaussian"), (pmr.Rectified(), "rectified")]
JOINS += [(pmr.Gaussian(), "rectified"), (pmr.Gaussian(), "binomial"), (pmr.Rectified(), "binomial")]


@pytest.mark.parametrize(("visible", "hidden"), JOINS)
def test_real_units_that_a_regression_joins(visible, hidden):
    assert abs(moments_drawn(visible, hidden)).max() < 4.5


@pytest.mark.parametrize(("visible", "hidden"), JOINS)
def test_real_units_that_a_regression_joins_show_a_wrong_slope(visible, hidden, monkeypatch):
    """One that runs through the draw of h; where that has no derivative, one of a field that is a fifth too small."""

    def weak(unit, x, field):
        return slopes.own_slope(unit, x, 0.8 * field)

    for moves in (joint, walls):
        monkeypatch.setattr(moves, "own_slope", weak if hidden == "binomial" else leaking)
    assert abs(moments_drawn(visible, hidden)).max() > 6
