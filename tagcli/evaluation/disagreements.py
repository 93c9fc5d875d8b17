"""Examples whose labels and scores disagree most: labels that are wrong, or music that the system does not know."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.evaluation.alignment import Aligned

MIN_OPPOSITES = 5  # below that many, being the wrong way round with all of them tells little


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """An example and a tag that do not go together.

    Parameters
    ----------
    path, id
        File and identifier of the example.
    tag
        The tag.
    is_labelled
        Whether the example carries it, and does not sound like it; else it sounds like it, and does not carry it.
    score
        The system's.
    share
        Of the examples that are labelled the other way, how many have a score on the wrong side of this one's, a tie
        counting half: the example's own part of what is missing to a ROC-AUC of 1.
    """

    path: str
    id: str
    tag: str
    is_labelled: bool
    score: float
    share: float


def find_disagreements(aligned: Aligned, *, n_most: int) -> list[Disagreement]:
    """Find the examples whose labels and scores disagree most, the worst first.

    Parameters
    ----------
    aligned
        Examples, labels and scores. A tag is looked through on a side of which there are at least `MIN_OPPOSITES`
        opposites.
    n_most
        How many at most.
    """
    manifest = aligned.manifest
    shares = np.full(aligned.scores.shape, np.nan)
    for column in range(len(manifest.tags)):
        is_known = manifest.known[:, column] & ~np.isnan(aligned.scores[:, column])
        positives = np.flatnonzero(is_known & manifest.labels[:, column])
        negatives = np.flatnonzero(is_known & ~manifest.labels[:, column])
        scores = aligned.scores[:, column]
        if len(negatives) >= MIN_OPPOSITES:
            shares[positives, column] = 1 - _rank_among(scores[positives], scores[negatives])
        if len(positives) >= MIN_OPPOSITES:
            shares[negatives, column] = _rank_among(scores[negatives], scores[positives])
    distances = np.where(manifest.labels, -aligned.scores, aligned.scores)
    order = np.lexsort((-distances.ravel(), -np.nan_to_num(shares, nan=-1.0).ravel()))[:n_most]
    cells = [divmod(int(cell), len(manifest.tags)) for cell in order if not np.isnan(shares.ravel()[cell])]
    return [
        Disagreement(
            path=manifest.paths[row],
            id=manifest.ids[row],
            tag=manifest.tags[column],
            is_labelled=bool(manifest.labels[row, column]),
            score=float(aligned.scores[row, column]),
            share=float(shares[row, column]),
        )
        for row, column in cells
    ]


def _rank_among(scores: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Tell what share of other scores lies below each, a tie counting half."""
    ranked = np.sort(others)
    n_below = np.searchsorted(ranked, scores, side="left") + np.searchsorted(ranked, scores, side="right")
    return n_below / (2 * len(others))
