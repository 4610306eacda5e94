"""How often the verdict is right: on draws, of machines whose relaxation is known, and on 24 learning runs.

*Draws.* Curie-Weiss machines, whose relaxation times are known exactly.

Twenty visible and twenty hidden units, all weights w, biases -10 w. Their slowest relaxation takes 1.5 sweeps at
w = .15, 4.5 at .2, 493 at .3 and more than any chain of ours at .4 and .6, where all four chains often sit in one of
two equal modes. Four chains of 1,000 draws after 1,000 sweeps, one sweep a draw, from dispersed starts. Of 100 seeds,
at most 5 may be "not mixed" at .15, and at most 5 "mixed" at .3, .4 and .6.

Run with ``python benchmarks/verdict.py [seeds] [gibbs or pymc]`` (default 100 gibbs): draws by ``pmr.sample_gibbs``, or
by ``pm.sample``, which takes longer.

*Learning.* ``python benchmarks/verdict.py learning``: twelve problems (`learning_runs`), each looked at early and at
the end. A run has finished where the exact objective, climbed on from its end by another route, rises by no more than
what `diagnose` says matters. The second verdict is that by draws, as if log Z could not be summed.
"""

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pymc as pm

import pymc_rbm as pmr
from pymc_rbm.diagnostics.progress import finishing

WEIGHTS = 0.15, 0.2, 0.3, 0.4, 0.6
VERDICTS = "mixed", "cannot tell", "not mixed"


def curie_weiss(w, n=20):
    """Return W, b and c."""
    return np.full((n, n), w), np.full(n, -w * n / 2), np.full(n, -w * n / 2)


def draws(w, seed, sampler):
    """Return four chains of 1,000 draws."""
    if sampler == "gibbs":
        return pmr.sample_gibbs(pmr.restricted(*curie_weiss(w)), random_seed=seed, progressbar=False)
    with pm.Model():
        pmr.RBM("v", *curie_weiss(w))
        return pm.sample(chains=4, cores=1, random_seed=seed, quiet=True, compute_convergence_checks=False)


def one_sided(idata):
    """Whether all chains spent all their time on one side."""
    sides = idata["posterior"]["v"].values.mean(-1) > 0.5
    return bool(sides.all() or not sides.any())


def main(seeds=100, sampler="gibbs"):
    """Print one row a machine."""
    print(f"{'w':>5} " + " ".join(f"{x:>12}" for x in VERDICTS) + "   of runs with all chains in one mode, mixed")
    for w in WEIGHTS:
        counts, hidden = Counter(), Counter()
        for seed in range(seeds):
            idata = draws(w, seed, sampler)
            found = pmr.diagnose(idata, pmr.restricted(*curie_weiss(w)), random_seed=seed, progressbar=False).verdict
            counts[found] += 1
            hidden[found] += one_sided(idata)
        row = " ".join(f"{counts[x]:12d}" for x in VERDICTS)
        print(f"{w:5} {row}   {hidden.total():d}, {hidden['mixed']:d}", flush=True)


def without_sums(learned):
    """The verdict on learning of a machine whose log Z is no sum."""
    exact, finishing.exact_log_z = finishing.exact_log_z, lambda *_: None
    try:
        return pmr.diagnose(learned, random_seed=1, probes=False, progressbar=False)
    finally:
        finishing.exact_log_z = exact


@dataclass(frozen=True)
class Judged:
    """A learning run: nats a row, what is left to gain in truth, what of that matters, and what is said of it."""

    nats: float
    to_gain: float
    matters: float
    chains: str
    learning: str
    by_draws: str

    @property
    def right(self):
        """Whether the verdict on learning is right, and the one by draws does not call a run finished that is not."""
        truth = "finished" if self.to_gain <= self.matters else "not finished"
        return self.learning == truth and (truth, self.by_draws) != ("not finished", "finished")


def judged(problem, learned, **options):
    """Compare what is said of a run with what is known of it."""
    _, here, best = problem.truth(learned, **options)
    found = pmr.diagnose(learned, random_seed=1, progressbar=False)
    matters = float(found.measures["rise_that_matters"])
    return Judged(here, best - here, matters, found.chains, found.learning, without_sums(learned).learning)


def learning(chosen=()):
    """Print two rows a problem: what is left to gain in truth, and what is said of it."""
    from learning_runs import problems

    print(f"{'':45}{'nats':>9} {'to gain':>8} {'matters':>8}  chains, learning, by draws")
    right = []
    for i, problem in enumerate(problems()):
        if chosen and i not in chosen:
            continue
        for when, learned in zip(("early", "end"), problem.learn(), strict=True):
            x = judged(problem, learned)
            right.append(x.right)
            row = f"{problem.name + ', ' + when:45}{x.nats:9.3f} {x.to_gain:8.4f} {x.matters:8.4f}  "
            print(row + f"{x.chains}, {x.learning}, {x.by_draws}" + "  WRONG" * (not x.right), flush=True)
    print(f"{sum(right)} of {len(right)} right")


if __name__ == "__main__":
    if sys.argv[1:2] == ["learning"]:
        learning([int(x) for x in sys.argv[2:]])
    else:
        main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
