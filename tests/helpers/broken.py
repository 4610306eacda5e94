"""Broken versions of the package's moves, by which tests of invariance show that they can fail."""

from pymc_rbm.sampling import ladder


def swap_with_wrong_signs(monkeypatch):
    """Let pairs of rungs swap by the inverse of the right ratio from now on."""
    right = ladder.pair_function

    def with_wrong_signs(*key):
        def pair(*arguments):
            *first, up, down = right(*key)(*arguments)
            return *first, down, up

        return pair

    monkeypatch.setattr(ladder, "pair_function", with_wrong_signs)
