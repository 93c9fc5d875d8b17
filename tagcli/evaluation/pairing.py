"""The figures of how alike two systems are, under any weights of the examples: a replicate is others of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.metrics import correlate, rank
from tagcli.metrics.ranking import Counts, Table, Values

N_TOP_LABELS = 3
"""An example counts as an example of a tag when the tag is among so many of the teacher's best."""
N_OVERLAP = 5
"""Best tags of both, whose common ones are counted."""
SCORE_MARGIN = 1e-6
"""Scores nearer to 0 or 1 are taken for so near: their logits would not be finite, or noise of float32."""


def mark_best(scores: npt.NDArray[np.floating], n_best: int) -> npt.NDArray[np.bool_]:
    """Mark the best tags of each example [shape=(n_examples, n_tags)]; of equal ones the first."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :n_best]
    marks = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(marks, best, values=True, axis=1)
    return marks


def find_logits(scores: npt.NDArray[np.floating]) -> Values:
    """Compute the logits of scores, which are kept `SCORE_MARGIN` away from 0 and 1."""
    kept = np.clip(scores.astype(np.float64), SCORE_MARGIN, 1 - SCORE_MARGIN)
    logits: Values = np.log(kept / (1 - kept))
    return logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """What is measured of a pair, in each replicate.

    Parameters
    ----------
    pearson, spearman, roc_auc
        Of each tag [shape=(n_replicates, n_tags)]; nan where undefined.
    overlap
        [shape=(n_replicates,)], from 0 to `N_OVERLAP`; nan when one of the two has no more tags than that.
    """

    pearson: Values
    spearman: Values
    roc_auc: Values
    overlap: Values


class Pair:
    """What a student and its teacher say of the same examples, ready to be measured under any weights of these.

    Parameters
    ----------
    student, teacher
        Scores of all tags of each [shape=(n_examples, n_tags)].
    student_columns, teacher_columns
        Where the shared tags are, parallel.
    """

    def __init__(
        self,
        *,
        student: npt.NDArray[np.floating],
        teacher: npt.NDArray[np.floating],
        student_columns: Sequence[int],
        teacher_columns: Sequence[int],
    ) -> None:
        own, taught = student[:, student_columns].astype(np.float64), teacher[:, teacher_columns].astype(np.float64)
        self.labels = mark_best(teacher, N_TOP_LABELS)[:, teacher_columns]
        self._scores = list(zip(own.T, taught.T, strict=True))
        self._logits = list(zip(find_logits(own).T, find_logits(taught).T, strict=True))
        self._rankings = Table.make(self.labels, own, None).rank_tags()
        is_common = (
            mark_best(student, N_OVERLAP)[:, student_columns] & mark_best(teacher, N_OVERLAP)[:, teacher_columns]
        )
        has_others = min(student.shape[1], teacher.shape[1]) > N_OVERLAP
        self._n_common = is_common.sum(axis=1) if has_others else np.full(len(own), np.nan)

    def measure(self, weights: Counts) -> Figures:
        """Compute all figures.

        Parameters
        ----------
        weights
            How often each example is there [shape=(n_replicates, n_examples)].
        """
        pearson = [correlate(one, other, weights) for one, other in self._logits]
        spearman = [correlate(rank(one, weights), rank(other, weights), weights) for one, other in self._scores]
        return Figures(
            pearson=np.stack(pearson, axis=1),
            spearman=np.stack(spearman, axis=1),
            roc_auc=np.stack([ranking.measure(weights)[0] for ranking in self._rankings], axis=1),
            overlap=weights @ self._n_common / weights.sum(axis=1),
        )
