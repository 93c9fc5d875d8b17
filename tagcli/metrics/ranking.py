"""Examples in the order of their scores: all that the measures need of them.

Examples are sorted once for each tag; a replicate of a bootstrap is the same order under other weights. Ties are
handled as scikit-learn does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating]
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32] | npt.NDArray[np.int64]
Index = npt.NDArray[np.intp]

_BLOCK_CELLS = 1 << 18  # weights summed at a time, 1 MB: they stay in the cache of a core


class Ranking:
    """Examples in the order of their scores, the highest first: all that both measures need of them.

    Parameters
    ----------
    labels
        [shape=(n_cells,)]
    scores
        [shape=(n_cells,)]
    examples
        Example of each cell, which its weight belongs to [shape=(n_cells,)].
    """

    def __init__(self, labels: Labels, scores: Scores, examples: Index) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked, is_positive = scores[order], labels[order]
        self._examples = examples[order]
        self._positives = self._examples[is_positive]
        places = np.flatnonzero(is_positive)
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(ranked))  # of cells that tie
        ties, self._first = np.unique(np.searchsorted(ends, places, side="right"), return_index=True)
        starts, ends = np.append(0, ends)[ties], ends[ties]
        self._bounds = np.unique(np.concatenate(([0], starts, ends[ends < len(ranked)])))
        self._through = np.searchsorted(self._bounds, ends) - 1
        self._before = np.searchsorted(self._bounds, starts) - 1
        self._has_both = 0 < len(places) < len(scores)

    def measure(self, weights: Counts) -> Values:
        """Compute both measures under weights of the examples.

        Parameters
        ----------
        weights
            [shape=(n_replicates, n_examples)], from 0 up; of a type that holds the sum of those of all cells.

        Returns
        -------
        numpy.ndarray
            ROC-AUC and average precision [shape=(2, n_replicates)]; nan where the weighted examples are of one class.
        """
        found = np.full((2, len(weights)), np.nan)
        step = max(1, _BLOCK_CELLS // max(1, len(self._examples)))
        for start in range(0, len(weights) if self._has_both else 0, step):
            part = slice(start, start + step)
            found[:, part] = self._measure(weights[part])
        return found

    def _measure(self, weights: Counts) -> Values:
        """Compute both for few replicates."""
        summed = np.add.reduceat(np.take(weights, self._examples, axis=1), self._bounds, axis=1)
        cumulative = np.cumsum(summed, axis=1, dtype=np.int64)  # where a positive, or what ties with it, begins or ends
        through = cumulative[:, self._through]
        before = np.where(self._before < 0, 0, cumulative[:, self._before])
        positive = np.add.reduceat(np.take(weights, self._positives, axis=1), self._first, axis=1).astype(np.int64)
        positive_through = np.cumsum(positive, axis=1)
        n_positive = positive_through[:, -1]
        n_negative = cumulative[:, -1] - n_positive
        negative_tied = through - before - positive
        negative_below = n_negative[:, np.newaxis] - (through - positive_through)
        won = (positive * (negative_below + negative_tied / 2)).sum(axis=1)
        precise = (positive * (positive_through / np.maximum(through, 1))).sum(axis=1)
        n_pairs = n_positive.astype(np.float64) * n_negative
        return np.where(
            n_pairs > 0, np.stack((won / np.maximum(n_pairs, 1), precise / np.maximum(n_positive, 1))), np.nan
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Labels, scores and what of them is known, all [shape=(n_examples, n_tags)]."""

    labels: Labels
    scores: Scores
    known: Labels

    @classmethod
    def make(cls, labels: npt.ArrayLike, scores: npt.ArrayLike, known: npt.ArrayLike | None) -> "Table":
        """Check the shapes, and see where scores are missing."""
        given_labels, given_scores = np.asarray(labels, dtype=np.bool_), np.asarray(scores)
        if not np.issubdtype(given_scores.dtype, np.floating):
            given_scores = given_scores.astype(np.float64)
        is_known = ~np.isnan(given_scores)
        if known is not None and np.shape(known) == is_known.shape:
            is_known &= np.asarray(known, dtype=np.bool_)
        shapes = {given_labels.shape, given_scores.shape, np.shape(known) if known is not None else given_labels.shape}
        if len(shapes) > 1 or given_labels.ndim != 2:
            names = ", ".join(map(str, sorted(shapes)))
            msg = f"labels, scores and known want one shape (n_examples, n_tags), not {names}"
            raise ValueError(msg)
        return cls(labels=given_labels, scores=given_scores, known=is_known)

    @property
    def n_examples(self) -> int:
        """Number of rows."""
        return len(self.labels)

    def rank_tags(self) -> list[Ranking]:
        """Rank the examples of each tag."""
        rankings = []
        for labels, scores, known in zip(self.labels.T, self.scores.T, self.known.T, strict=True):
            examples = np.flatnonzero(known)
            rankings.append(Ranking(labels[examples], scores[examples], examples))
        return rankings

    def rank_all(self) -> Ranking:
        """Rank all cells."""
        return Ranking(self.labels[self.known], self.scores[self.known], np.nonzero(self.known)[0])
