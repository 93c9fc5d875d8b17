"""How closely two systems' scores of one tag move together, under weights of the examples.

A weight says how often an example is there: a replicate of a bootstrap is the same examples under other weights.
"""

import numpy as np

from tagcli.metrics.ranking import Counts, Values


def correlate(values: Values, others: Values, weights: Counts) -> Values:
    """Compute Pearson's correlation; of ranks it is Spearman's.

    Source: Pearson 1895, "Notes on regression and inheritance in the case of two parents", Proceedings of the Royal
    Society 58; Spearman 1904, "The proof and measurement of association between two things", American Journal of
    Psychology 15(1).

    Parameters
    ----------
    values, others
        [shape=(n_examples,)], or other ones in each replicate [shape=(n_replicates, n_examples)]; finite.
    weights
        [shape=(n_replicates, n_examples)], from 0 up.

    Returns
    -------
    numpy.ndarray
        [shape=(n_replicates,)], in [-1, 1]; nan where one of the two is constant.
    """
    counts = weights.astype(np.float64)
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    first = np.argmax(weights > 0, axis=1)[:, np.newaxis]

    def center(given: Values) -> Values:
        there = np.broadcast_to(given, weights.shape)
        moved = there - np.take_along_axis(there, first, axis=1)  # what is constant is 0 now, which no mean makes it
        centered: Values = moved - np.einsum("rn,rn->r", counts, moved)[:, np.newaxis] / total
        return centered

    x, y = center(values), center(others)
    weighted = counts * x
    covariance, of_x = np.einsum("rn,rn->r", weighted, y), np.einsum("rn,rn->r", weighted, x)
    spread = np.sqrt(of_x) * np.sqrt(np.einsum("rn,rn->r", counts * y, y))
    is_defined = spread > 0
    return np.where(is_defined, np.clip(covariance / np.where(is_defined, spread, 1.0), -1.0, 1.0), np.nan)


def rank(values: Values, weights: Counts) -> Values:
    """Rank examples, the lowest first, each as often as its weight says; ties share the mean of their ranks.

    Source: Kendall 1945, "The treatment of ties in ranking problems", Biometrika 33(3).

    Parameters
    ----------
    values
        [shape=(n_examples,)], at least one.
    weights
        [shape=(n_replicates, n_examples)], from 0 up.

    Returns
    -------
    numpy.ndarray
        [shape=(n_replicates, n_examples)], from 1 to the sum of the weights; without meaning where the weight is 0.
    """
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    together = np.add.reduceat(np.take(weights, order, axis=1), starts, axis=1)
    ranks = np.cumsum(together, axis=1) - (together - 1) / 2
    levels = np.empty(len(values), dtype=np.intp)
    levels[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    return np.take(ranks, levels, axis=1)
