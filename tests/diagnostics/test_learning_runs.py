"""The verdict on learning over runs of which it is known by another route whether they have finished."""

import sys
from pathlib import Path

import pytest
from options import MASKED

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.learning_runs import begun, problems
from benchmarks.verdict import judged

pytestmark = [pytest.mark.slow, MASKED]
PROBLEMS, LONG = 8, [3]
"""Left out are those of reference data, and one that takes as long as all others: `benchmarks/verdict.py learning` has
them."""


@pytest.mark.parametrize("i", [i for i in range(PROBLEMS) if i not in LONG])
def test_a_run_that_is_stopped_early_and_one_that_is_not(i):
    found = problems()
    early, end = (judged(found[i], learned) for learned in found[i].learn())
    assert early.to_gain > early.matters, early
    assert end.to_gain < end.matters, end
    assert early.learning == "not finished", early
    assert end.learning == "finished", end
    assert early.by_draws != "finished", early


@pytest.mark.parametrize("i", range(2))
def test_a_run_that_seems_to_rest(i):
    """A hundred particles see no gradient beyond their noise after 500 updates, as the issue had it."""
    problem = begun()[i]
    learned = problem.begin()
    assert learned["learning"].sizes["iteration"] == 500
    found = judged(problem, learned, iterations=60)  # what is left to gain is more than that
    assert found.to_gain > 10 * found.matters, found
    assert found.learning == "not finished", found
    assert found.by_draws != "finished", found
