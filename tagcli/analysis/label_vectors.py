"""What a network has learned of tags: how alike the weights of its outputs are.

Choi, Fazekas, Cho, Sandler, "The effects of noisy labels on deep convolutional neural networks for music tagging"
(2017), section V-A. A tag's label vector is its column of the last dense layer's matrix.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.analysis.cooccurrence import Cooccurrence
from tagcli.analysis.tag_pairs import Values, choose_shown, rank_pairs
from tagcli.checkpoint import load_array, read_header
from tagcli.errors import CheckpointError, DatasetError
from tagcli.evaluation import match_tags
from tagcli.metrics import correlate, rank

logger = logging.getLogger(__name__)

LAST_LAYER = "model.dense.weight"


class Measure(StrEnum):
    """How alike two vectors are: by their angle only, or by their lengths, too.

    The paper writes the latter (equation 3), but its similarities, and the pairs in its table III, are cosines.
    """

    COSINE = "cosine"
    DOT = "dot"


@dataclass(frozen=True, kw_only=True)
class SimilarPair:
    """How alike two tags are to a network.

    Parameters
    ----------
    rank
        Among all pairs, from 1.
    tag_a, tag_b
        In the order of the vocabulary.
    similarity
        In [-1, 1] as a cosine.
    """

    rank: int
    tag_a: str
    tag_b: str
    similarity: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelVectors:
    """The weights of a network's outputs.

    Parameters
    ----------
    name
        What the network is called.
    tags
        Its vocabulary.
    vectors
        [shape=(n_tags, n_features)]
    """

    name: str
    tags: tuple[str, ...]
    vectors: Values

    def compare(self, measure: Measure) -> "TagSimilarity":
        """Compare each vector with each other one; the cosine of a vector of no length is nan."""
        products = self.vectors @ self.vectors.T
        if measure is Measure.COSINE:
            lengths = np.sqrt(np.diagonal(products))
            scale = np.outer(lengths, lengths)
            products = np.divide(products, scale, out=np.full_like(products, np.nan), where=scale > 0).clip(-1, 1)
        return TagSimilarity(name=self.name, tags=self.tags, measure=measure, values=products)


@dataclass(frozen=True, kw_only=True, eq=False)
class TagSimilarity:
    """How alike tags are to a network.

    Parameters
    ----------
    name, tags
        Of the network.
    measure
        What the values are.
    values
        [shape=(n_tags, n_tags)], symmetric; nan where it is undefined.
    """

    name: str
    tags: tuple[str, ...]
    measure: Measure
    values: Values

    @property
    def of_pairs(self) -> Values:
        """The values with nan where they stand a second time, or on the diagonal [shape=(n_tags, n_tags)]."""
        is_pair = np.triu(np.ones(self.values.shape, dtype=np.bool_), k=1)
        return np.where(is_pair, self.values, np.nan)

    def list_pairs(self) -> list[SimilarPair]:
        """List all pairs of two tags, the most similar first."""
        return [
            SimilarPair(
                rank=place, tag_a=self.tags[row], tag_b=self.tags[column], similarity=float(self.values[row, column])
            )
            for place, (row, column) in enumerate(rank_pairs(self.of_pairs).tolist(), start=1)
        ]

    def choose_shown(self) -> list[int]:
        """Choose the tags of a picture: the paper's kinds of them, or else those of the most similar pairs."""
        return choose_shown(self.tags, by_importance=rank_pairs(self.of_pairs).ravel().tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class CooccurrenceMatch:
    """Whether tags that are alike to a network come together in labels.

    Parameters
    ----------
    dataset
        Name of the data set that the labels are of.
    n_examples
        Their number.
    n_top
        How many pairs are the top of either ranking.
    is_common
        Pairs of the network's top that are among the labels' top tuples, too, whichever way round
        [shape=(n_tags, n_tags)]; set once for each pair.
    cooccurrences
        The higher one of C(i, j) and C(j, i) [shape=(n_tags, n_tags)]; nan where the data set knows nothing of it.
    rank_correlation
        Spearman's, of similarities and these; nan when one of the two is constant.
    n_pairs
        Pairs that it is over.
    """

    dataset: str
    n_examples: int
    n_top: int
    is_common: npt.NDArray[np.bool_]
    cooccurrences: Values
    rank_correlation: float
    n_pairs: int

    @property
    def n_common(self) -> int:
        """Number of pairs in both tops."""
        return int(np.count_nonzero(self.is_common))


def read_label_vectors(path: Path) -> LabelVectors:
    """Read the label vectors of a checkpoint; needs no torch.

    Raises
    ------
    CheckpointError
        When it cannot be read, or its last layer is no matrix of its tags.
    """
    header = read_header(path)
    vectors = load_array(path, LAST_LAYER)
    if vectors.ndim != 2 or len(vectors) != len(header.vocabulary) or not np.all(np.isfinite(vectors)):
        msg = f"{path} has no finite weights for each of its {len(header.vocabulary)} tags; fetch the checkpoint again."
        raise CheckpointError(msg, path=path)
    return LabelVectors(name=header.name, tags=header.vocabulary.tags, vectors=vectors.astype(np.float64))


def match_cooccurrence(similarity: TagSimilarity, cooccurrence: Cooccurrence, *, n_top: int) -> CooccurrenceMatch:
    """Compare what is alike to a network with what comes together in labels, over the tags that both have.

    Source: section V-A of the paper, and its table III.

    Parameters
    ----------
    similarity
        Of the network.
    cooccurrence
        Of the labels.
    n_top
        How many pairs are the top.

    Raises
    ------
    DatasetError
        When they have fewer than two tags in common.
    """
    match = match_tags(cooccurrence.tags, similarity.tags)
    dataset = cooccurrence.manifest.name
    if len(match.system_tags) < 2:
        msg = f"{dataset} and {similarity.name} have no two tags in common; take another data set."
        raise DatasetError(msg)
    left_out = (*match.only_dataset, *match.only_system)
    if left_out:
        logger.warning("%d tags that only %s or %s has are not compared.", len(left_out), dataset, similarity.name)

    places = [similarity.tags.index(tag) for tag in match.system_tags]
    given_places = [cooccurrence.tags.index(tag) for tag in match.dataset_tags]
    n_tags = len(similarity.tags)
    tuples, support = np.full((n_tags, n_tags), np.nan), np.zeros((n_tags, n_tags))
    tuples[np.ix_(places, places)] = cooccurrence.similarities[np.ix_(given_places, given_places)]
    support[np.ix_(places, places)] = cooccurrence.n_carriers[np.ix_(given_places, given_places)]
    higher = np.fmax(tuples, tuples.T)

    values = np.where(np.isnan(higher), np.nan, similarity.of_pairs)
    pairs = rank_pairs(values)
    is_tuple = np.zeros((n_tags, n_tags), dtype=np.bool_)
    is_tuple[tuple(rank_pairs(tuples, support)[:n_top].T)] = True
    is_top = np.zeros_like(is_tuple)
    is_top[tuple(pairs[:n_top].T)] = True
    rows, columns = pairs.T
    return CooccurrenceMatch(
        dataset=dataset,
        n_examples=len(cooccurrence.manifest),
        n_top=n_top,
        is_common=is_top & (is_tuple | is_tuple.T),
        cooccurrences=higher,
        rank_correlation=_correlate_ranks(values[rows, columns], higher[rows, columns]),
        n_pairs=len(pairs),
    )


def _correlate_ranks(values: Values, others: Values) -> float:
    """Compute Spearman's correlation."""
    if not len(values):
        return float("nan")
    once = np.ones((1, len(values)), dtype=np.int64)
    return float(correlate(rank(values, once), rank(others, once), once)[0])
