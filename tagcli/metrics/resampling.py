"""How sure a measure is: the bootstrap over examples, or over groups of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tagcli.cores import count_cores
from tagcli.metrics.measures import Measures, name_measures
from tagcli.metrics.ranking import Counts, Table, Values

CONFIDENCE = 0.95
_MOST_THREADS = 4
_BLOCK_REPLICATES = 64  # drawn at a time


class Interval(NamedTuple):
    """The bounds that a share of `CONFIDENCE` of the replicates lies within; nan when there are none."""

    low: float
    high: float


def bootstrap(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    known: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    n_replicates: int,
    seed: int,
) -> Measures:
    """Measure what would have been found with other examples of the same kind.

    As many groups as there are are drawn with replacement, each with all its examples (the cluster bootstrap: Davison &
    Hinkley 1997, "Bootstrap Methods and their Application", section 3.8). The draws depend on the groups, the seed and
    the number of replicates only, so that two systems with the same examples see the same ones.

    Parameters
    ----------
    labels, scores, known
        As for `roc_auc`.
    groups
        Number of the group of each example [shape=(n_examples,)]; None when each is its own.
    n_replicates
        How many times; with 0 nothing is ranked.
    seed
        Of the draws.

    Returns
    -------
    Measures
        With a first axis of replicates; nan where a replicate has one class only of a tag.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    table = Table.make(labels, scores, known)
    given = np.arange(table.n_examples) if groups is None else np.asarray(groups)
    if given.shape != (table.n_examples,):
        msg = f"groups of shape {given.shape} do not fit {table.n_examples} examples"
        raise ValueError(msg)
    if not n_replicates:
        return name_measures(np.empty((2, 0, table.labels.shape[1] + 1)))
    rankings = [*table.rank_tags(), table.rank_all()]
    found = np.full((2, n_replicates, len(rankings)), np.nan)
    n_done = 0
    with ThreadPoolExecutor(min(_MOST_THREADS, count_cores())) as executor:
        for drawn in draw_weights(given, n_replicates=n_replicates, seed=seed):
            is_small = int(drawn.max(initial=0)) * table.labels.size <= np.iinfo(np.int32).max
            weights: Counts = drawn.astype(np.int32) if is_small else drawn
            measured = executor.map(lambda ranking, weights=weights: ranking.measure(weights), reversed(rankings))
            for column, values in zip(reversed(range(len(rankings))), measured, strict=True):
                found[:, n_done : n_done + len(drawn), column] = values
            n_done += len(drawn)
    return name_measures(found)


def draw_weights(groups: npt.ArrayLike, *, n_replicates: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw the replicates of `bootstrap`, some at a time.

    Parameters
    ----------
    groups, n_replicates, seed
        As of `bootstrap`.

    Yields
    ------
    numpy.ndarray
        How often each example is there [shape=(n_drawn, n_examples)].
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups = int(codes.max(initial=-1)) + 1
    generator = np.random.default_rng(seed)
    for start in range(0, n_replicates, _BLOCK_REPLICATES):
        counts = _draw(generator, n_groups, min(_BLOCK_REPLICATES, n_replicates - start))
        yield np.take(counts, codes, axis=1)


def interval(replicates: Values) -> Interval:
    """Find the percentile interval of a bootstrap.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.

    Parameters
    ----------
    replicates
        [shape=(n_replicates,)]; undefined ones, nan, are left out.
    """
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        return Interval(float("nan"), float("nan"))
    margin = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, (margin, 1 - margin)).tolist()
    return Interval(low, high)


def sign_p(differences: Values) -> float:
    """Judge by the replicates whether two systems differ: the two-sided p that their difference is 0.

    Twice the smaller share of replicates on one side of 0, itself counted as one of them (Davison & Hinkley 1997,
    equation 4.11), and at most 1.

    Parameters
    ----------
    differences
        [shape=(n_replicates,)]; undefined ones, nan, are left out.
    """
    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return float("nan")
    n_fewer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return min(1.0, 2 * (n_fewer + 1) / (len(defined) + 1))


def _draw(generator: np.random.Generator, n_groups: int, n_replicates: int) -> npt.NDArray[np.int64]:
    """Draw groups with replacement; gives how often each was drawn [shape=(n_replicates, n_groups)]."""
    drawn = generator.integers(max(1, n_groups), size=(n_replicates, n_groups))
    drawn += np.arange(n_replicates)[:, np.newaxis] * n_groups
    return np.bincount(drawn.ravel(), minlength=n_replicates * n_groups).reshape(n_replicates, n_groups)
