"""What learning must beat: limits that are computed, not chosen."""

import numpy as np


def latent_classes(rows, which, iterations=300):
    """The mean log-likelihood that EM ends at for classes of independent binary units, from the classes ``which``."""
    r = np.eye(which.max() + 1)[which]
    for _ in range(iterations):
        shares, p = r.mean(0), np.clip((r.T @ rows) / r.sum(0)[:, None], 1e-9, 1 - 1e-9)
        log_p = np.log(shares) + rows @ np.log(p).T + (1 - rows) @ np.log(1 - p).T
        r = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1)[:, None])
    return np.logaddexp.reduce(log_p, axis=1).mean()


def best_classes(rows, classes):
    """That of the best of thirty starts, with each class in some row."""
    rng, rows = np.random.default_rng(0), np.asarray(rows)
    starts = [rng.permutation(np.arange(len(rows)) % classes) for _ in range(30)]
    return max(latent_classes(rows, which) for which in starts)


def in_errors(values):
    """The mean of independent values, in its standard errors."""
    return np.mean(values) / np.std(values, ddof=1) * np.sqrt(len(values))
