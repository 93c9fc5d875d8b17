"""ROC-AUC and average precision of each tag, over all tags as one, and their means.

ROC-AUC is the share of pairs of a positive and a negative example in which the positive has the higher score, a tie
counting half (Hanley & McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC)
curve", Radiology 143(1)). Average precision is the mean, over the positives, of the precision among all examples that
score at least as high (Manning, Raghavan & Schütze 2008, "Introduction to Information Retrieval", section 8.4); it is
shown as PR-AUC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tagcli.metrics.ranking import Ranking, Table, Values


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """What is measured of scores: once, or in every replicate of a bootstrap.

    Parameters
    ----------
    roc_auc, average_precision
        Of each tag [shape=(..., n_tags)], in [0, 1]; nan where a tag has one class only.
    micro_roc_auc, micro_average_precision
        Of all cells of the table as if they were of one tag [shape=(...,)].
    """

    roc_auc: Values
    average_precision: Values
    micro_roc_auc: Values
    micro_average_precision: Values


class Mean(NamedTuple):
    """A mean over tags.

    Attributes
    ----------
    value
        nan when it is over none.
    n_defined
        Number of tags that it is over.
    """

    value: float
    n_defined: int


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Values:
    """Compute the area under the ROC curve of each tag.

    Parameters
    ----------
    labels
        Which examples carry which tags [shape=(n_examples, n_tags)], boolean.
    scores
        [shape=(n_examples, n_tags)], the higher the likelier; a cell of nan counts as not known.
    known
        Cells whose label is known [shape=(n_examples, n_tags)]; None for all.

    Returns
    -------
    numpy.ndarray
        [shape=(n_tags,)], in [0, 1]; nan where the known cells of a tag are of one class only.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    return measure_tags(labels, scores, known).roc_auc


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Values:
    """Compute the average precision of each tag, shown as PR-AUC; takes, returns and raises what `roc_auc` does."""
    return measure_tags(labels, scores, known).average_precision


def micro_roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None = None) -> float:
    """Compute the area under the ROC curve over all cells, as if they were of one tag; see `roc_auc`."""
    return float(measure(labels, scores, known).micro_roc_auc)


def micro_average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None = None) -> float:
    """Compute the average precision over all cells, as if they were of one tag; see `roc_auc`."""
    return float(measure(labels, scores, known).micro_average_precision)


def measure(labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Measures:
    """Compute everything that is measured; takes and raises what `roc_auc` does."""
    table = Table.make(labels, scores, known)
    return _measure_once([*table.rank_tags(), table.rank_all()], table.n_examples)


def measure_tags(labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None = None) -> Measures:
    """Compute what is measured of single tags; that over all cells is nan. Takes and raises what `roc_auc` does."""
    table = Table.make(labels, scores, known)
    return _measure_once([*table.rank_tags(), None], table.n_examples)


def macro(values: Values) -> Mean:
    """Take the mean over the tags that are defined.

    Parameters
    ----------
    values
        [shape=(n_tags,)], nan where a tag is undefined.
    """
    return Mean(float(mean_over_tags(values)), int(np.count_nonzero(~np.isnan(values))))


def mean_over_tags(values: Values) -> Values:
    """Take the mean over the tags that are defined, in each replicate over those that are defined in it.

    Parameters
    ----------
    values
        [shape=(..., n_tags)], nan where a tag is undefined.

    Returns
    -------
    numpy.ndarray
        [shape=(...,)], nan where no tag is defined.
    """
    is_defined = ~np.isnan(values)
    n_defined = is_defined.sum(axis=-1)
    total = np.where(is_defined, values, 0.0).sum(axis=-1)
    return np.where(n_defined > 0, total / np.maximum(n_defined, 1), np.nan)


def _measure_once(rankings: Sequence[Ranking | None], n_examples: int) -> Measures:
    """Measure with every example once; the last ranking is that of all cells."""
    weights = np.ones((1, n_examples), dtype=np.int64)
    nothing = np.full((2, 1), np.nan)
    found = [nothing if ranking is None else ranking.measure(weights) for ranking in rankings]
    return name_measures(np.concatenate(found, axis=1))


def name_measures(found: Values) -> Measures:
    """Give the parts of [shape=(2, ..., n_tags + 1)] their names; the last column is over all tags."""
    areas, precisions = found
    return Measures(
        roc_auc=areas[..., :-1],
        average_precision=precisions[..., :-1],
        micro_roc_auc=areas[..., -1],
        micro_average_precision=precisions[..., -1],
    )
