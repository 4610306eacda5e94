"""Whether rows lie in groups with nothing in between, which chains that change a few units at a time do not leave."""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

__all__ = ["islands"]

ROWS = 500
"""How many rows are compared with each other."""
LEAST_SHARE, LEAST_COVER = 0.01, 0.9
"""A group has this share of the rows at least, and all groups together hold the second share."""
LEAST_RATIO, LEAST_STEP = 1.2, 5
"""Groups are apart if the nearest rows of two of them differ in so many times as many entries, and so many more, as
neighbours within the groups. Of mixtures of 3 to 40 groups in 100 binary columns, up to 10 % of whose entries are
flipped, the ratio is at least 1.2 and the difference 5; of digits, MNIST, silhouettes, mushrooms, nltcs, dna, news,
spikes and spins, one group at most has a hundredth of the rows, or two."""


def islands(rows: np.ndarray) -> int:
    """Return in how many groups with nothing in between binary rows lie; 1 where they hang together.

    Rows are the points of a graph, and the number of entries in which they differ is the length of its edges, with the
    square of the difference to the mean for an entry that is missing and stands at its mean. The minimum spanning tree
    is cut where its edges, sorted by length, grow most (Zahn 1971, IEEE Trans. Comput. C-20).
    """
    chosen = np.random.default_rng(0).permutation(len(rows))[:ROWS]
    some = rows[chosen] / max(np.ptp(rows), 1)  # spins differ by 2
    squares = (some**2).sum(1)
    apart = np.maximum(squares[:, None] + squares - 2 * some @ some.T, 0)
    tree = minimum_spanning_tree(apart + 1)  # an edge of no length would be no edge
    lengths = np.sort(tree.data) - 1
    longer = np.diff(lengths[len(lengths) // 2 :])
    if not len(longer):
        return 1
    k = len(lengths) // 2 + int(np.argmax(longer))
    within, between = lengths[k], lengths[k + 1]
    if between < within + LEAST_STEP or between < LEAST_RATIO * within:
        return 1
    tree.data[tree.data - 1 > within] = 0
    tree.eliminate_zeros()
    sizes = np.bincount(connected_components(tree)[1]) / len(some)
    large = sizes[sizes >= LEAST_SHARE]
    return len(large) if large.sum() >= LEAST_COVER else 1
