"""Which tags come together: normalised co-occurrence.

Choi, Fazekas, Cho, Sandler, "The effects of noisy labels on deep convolutional neural networks for music tagging"
(2017), section III-A.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.analysis.tag_pairs import Values, choose_shown, rank_pairs
from tagcli.datasets import Manifest
from tagcli.errors import DatasetError
from tagcli.evaluation import Grouping
from tagcli.evaluation.grouping import choose_grouping, group_examples
from tagcli.metrics import count_effectively, wilson_interval

Counts = npt.NDArray[np.int64]

MOST_TAGS = 2_000
"""Tags whose pairs are counted: their tables, and the order of all pairs, take 0.4 GB."""
_BLOCK_EXAMPLES = 4096


@dataclass(frozen=True, kw_only=True)
class CooccurringPair:
    """How often one tag comes with another.

    Parameters
    ----------
    tag_a, tag_b
        Of the examples with the first, so many carry the second.
    similarity
        Their share, in [0, 1].
    low, high
        Its 95 % interval.
    n_together, n_carriers
        Number of examples with both, and of those with the first of which it is known whether they carry the second.
    """

    tag_a: str
    tag_b: str
    similarity: float
    low: float
    high: float
    n_together: int
    n_carriers: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Cooccurrence:
    """How often each tag comes with each other one.

    Parameters
    ----------
    manifest
        The examples that were counted.
    n_together
        Examples that carry both tags [shape=(n_tags, n_tags)].
    n_carriers
        Examples with the tag of the row of which it is known whether they carry the tag of the column
        [shape=(n_tags, n_tags)].
    similarities
        Equation 1: C(i, j) = n_together / n_carriers [shape=(n_tags, n_tags)], in [0, 1]; nan where no example carries
        the tag of the row, and on the diagonal, which says nothing.
    grouping
        What intervals take as independent.
    """

    manifest: Manifest
    n_together: Counts
    n_carriers: Counts
    similarities: Values
    grouping: Grouping

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of rows and columns."""
        return self.manifest.tags

    def rank_tuples(self) -> npt.NDArray[np.intp]:
        """Order the pairs, the highest C(i, j) first, of equal ones the most frequent tag [shape=(n_pairs, 2)]."""
        return rank_pairs(self.similarities, self.n_carriers.astype(np.float64))

    def list_pairs(self, n_top: int) -> list[CooccurringPair]:
        """List the pairs of the highest C(i, j), with Wilson's intervals.

        Examples of one artist are likely to be tagged alike, so they are counted as fewer than they are: see
        `tagcli.metrics.count_effectively`.
        """
        groups = group_examples(self.manifest, self.grouping)
        labels, known = self.manifest.labels, self.manifest.known
        pairs = []
        for row, column in self.rank_tuples()[:n_top].tolist():
            carriers = np.flatnonzero(labels[:, row] & known[:, column])
            n_effective = count_effectively(labels[carriers, column], groups[carriers])
            similarity = float(self.similarities[row, column])
            low, high = wilson_interval(similarity, n_effective)
            pairs.append(
                CooccurringPair(
                    tag_a=self.tags[row],
                    tag_b=self.tags[column],
                    similarity=similarity,
                    low=low,
                    high=high,
                    n_together=int(self.n_together[row, column]),
                    n_carriers=len(carriers),
                )
            )
        return pairs

    def choose_shown(self) -> list[int]:
        """Choose the tags of a picture: the paper's kinds of them, or else the most frequent ones."""
        frequency = np.argsort(-self.manifest.labels.sum(axis=0), kind="stable")
        return choose_shown(self.tags, by_importance=frequency.tolist())


def count_cooccurrences(manifest: Manifest) -> Cooccurrence:
    """Count how often tags come together.

    Parameters
    ----------
    manifest
        The examples; their audio is not looked at.

    Raises
    ------
    DatasetError
        When it has no two tags, too many of them, or no example that carries one.
    """
    n_tags = len(manifest.tags)
    if n_tags < 2 or not manifest.labels.any():
        reason = "fewer than two tags" if n_tags < 2 else "no example that carries a tag"
        msg = f"{manifest.name} has {reason}, so nothing comes together; take another data set."
        raise DatasetError(msg)
    if n_tags > MOST_TAGS:
        msg = f"{manifest.name} has {n_tags:,} tags, of which there are too many pairs; choose the most frequent ones"
        raise DatasetError(msg + " with `tagcli dataset build --top`.")
    n_together, n_carriers = (_multiply(manifest.labels, others) for others in (manifest.labels, manifest.known))
    similarities = np.divide(n_together, n_carriers, out=np.full((n_tags, n_tags), np.nan), where=n_carriers > 0)
    np.fill_diagonal(similarities, np.nan)
    return Cooccurrence(
        manifest=manifest,
        n_together=n_together,
        n_carriers=n_carriers,
        similarities=similarities,
        grouping=choose_grouping(manifest, None),
    )


def _multiply(labels: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_]) -> Counts:
    """Count the examples of which both are set, for each pair of columns; exact in float32 for few examples at once."""
    n_tags = labels.shape[1]
    counts: Counts = np.zeros((n_tags, n_tags), dtype=np.int64)
    for start in range(0, len(labels), _BLOCK_EXAMPLES):
        rows = slice(start, start + _BLOCK_EXAMPLES)
        counts += (labels[rows].T.astype(np.float32) @ others[rows].astype(np.float32)).astype(np.int64)
    return counts
