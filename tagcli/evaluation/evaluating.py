"""Measure a system on a data set: each tag, the means over tags, and how sure they are."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.artists import artist_key
from tagcli.checkpoint import hash_artists
from tagcli.datasets import Manifest
from tagcli.evaluation.alignment import Aligned
from tagcli.evaluation.grouping import Grouping, choose_grouping, group_examples
from tagcli.metrics import Measures, bootstrap, interval, macro, mean_over_tags, measure
from tagcli.tags import Category
from tagcli.weights.vocabularies import find_category

Values = npt.NDArray[np.float64]

DEFAULT_REPLICATES = 1000
SEEN_SPLIT = "train"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and the 95 % interval of its bootstrap; nan where it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TagEvaluation:
    """What was found of one tag.

    Parameters
    ----------
    tag, category
        As the data set spells it, and what kind of word it is.
    n_positive, n_negative
        Examples that are known to carry it, and not to carry it.
    roc_auc, pr_auc
        nan when there are none of one of them.
    """

    tag: str
    category: Category
    n_positive: int
    n_negative: int
    roc_auc: Estimate
    pr_auc: Estimate


@dataclass(frozen=True, kw_only=True)
class MeanEvaluation:
    """What was found of several tags together.

    Parameters
    ----------
    n_tags
        Number of tags that are defined among them.
    roc_auc, pr_auc
        nan when there are none.
    """

    n_tags: int
    roc_auc: Estimate
    pr_auc: Estimate


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a system knows a data set.

    Parameters
    ----------
    system, dataset, split
        What was judged by what; no split when the data set was taken whole.
    is_seen
        Whether the system was trained on some of these examples, or on their artists: the figures are an upper bound.
    n_seen
        Examples by artists that the system was trained on, as far as it tells.
    n_examples, n_artists
        What was judged by; artists that are known.
    n_unlabelled, n_missing, n_unheard
        Examples that were left out, see `Aligned`.
    grouping, n_groups, n_replicates, seed
        How the intervals were made.
    macro
        Mean over the tags that are defined.
    micro
        All cells as if they were of one tag.
    by_category
        Mean over the tags of each kind.
    per_tag
        In the order of the data set.
    only_dataset, only_system
        Tags that were left out, because one of the two does not have them.
    """

    system: str
    dataset: str
    split: str | None
    is_seen: bool
    n_seen: int
    n_examples: int
    n_artists: int
    n_unlabelled: int
    n_missing: int
    n_unheard: int
    grouping: Grouping
    n_groups: int
    n_replicates: int
    seed: int
    macro: MeanEvaluation
    micro: MeanEvaluation
    by_category: dict[Category, MeanEvaluation]
    per_tag: tuple[TagEvaluation, ...]
    only_dataset: tuple[str, ...]
    only_system: tuple[str, ...]

    @property
    def undefined(self) -> tuple[str, ...]:
        """Tags that have examples of one kind only, and are no part of the means."""
        return tuple(tag.tag for tag in self.per_tag if np.isnan(tag.roc_auc.value))


def evaluate(
    aligned: Aligned,
    *,
    split: str | None,
    categories: dict[str, Category] | None = None,
    trained_on: Collection[str] = (),
    by: Grouping | None = None,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Measure a system.

    Parameters
    ----------
    aligned
        Examples, tags and scores.
    split
        Name of the part of the data set that it is; None for the whole.
    categories
        By tag as the system spells it; the published vocabularies say of the others.
    trained_on
        Artists that the system was trained on, as `tagcli.checkpoint.hash_artists` gives them.
    by
        What the bootstrap draws; None for artists where any is known, else tracks.
    n_replicates
        Of the bootstrap; 0 for no intervals.
    seed
        Of its draws.

    Raises
    ------
    DatasetError
        When artists are to be drawn and none is known.
    """
    manifest, scores = aligned.manifest, aligned.scores
    known = manifest.known & ~np.isnan(scores)
    grouping = choose_grouping(manifest, by)
    groups = group_examples(manifest, grouping)
    point = measure(manifest.labels, scores, known)
    replicates = bootstrap(manifest.labels, scores, known, groups=groups, n_replicates=n_replicates, seed=seed)
    kinds = [
        (categories or {}).get(spelled) or find_category(tag)
        for tag, spelled in zip(manifest.tags, aligned.match.system_tags, strict=True)
    ]

    n_seen = count_seen(manifest, trained_on)

    def estimate(pick: Callable[[Measures], Values]) -> Estimate:
        low, high = interval(pick(replicates))
        return Estimate(value=float(pick(point)), low=low, high=high)

    def take_mean(columns: list[int]) -> MeanEvaluation:
        return MeanEvaluation(
            n_tags=macro(point.roc_auc[columns]).n_defined,
            roc_auc=estimate(lambda each: mean_over_tags(each.roc_auc[..., columns])),
            pr_auc=estimate(lambda each: mean_over_tags(each.average_precision[..., columns])),
        )

    def take_tag(column: int) -> TagEvaluation:
        return TagEvaluation(
            tag=manifest.tags[column],
            category=kinds[column],
            n_positive=int((manifest.labels & known)[:, column].sum()),
            n_negative=int((known & ~manifest.labels)[:, column].sum()),
            roc_auc=estimate(lambda each: each.roc_auc[..., column]),
            pr_auc=estimate(lambda each: each.average_precision[..., column]),
        )

    return Evaluation(
        system=aligned.system,
        dataset=manifest.name,
        split=split,
        is_seen=split == SEEN_SPLIT or n_seen > 0,
        n_seen=n_seen,
        n_examples=len(manifest),
        n_artists=count_artists(manifest),
        n_unlabelled=aligned.n_unlabelled,
        n_missing=aligned.n_missing,
        n_unheard=aligned.n_unheard,
        grouping=grouping,
        n_groups=len(set(groups.tolist())),
        n_replicates=n_replicates,
        seed=seed,
        macro=take_mean(list(range(len(kinds)))),
        micro=MeanEvaluation(
            n_tags=macro(point.roc_auc).n_defined,
            roc_auc=estimate(lambda each: each.micro_roc_auc),
            pr_auc=estimate(lambda each: each.micro_average_precision),
        ),
        by_category={
            kind: take_mean([column for column, other in enumerate(kinds) if other is kind])
            for kind in Category
            if kind in kinds
        },
        per_tag=tuple(map(take_tag, range(len(kinds)))),
        only_dataset=aligned.match.only_dataset,
        only_system=aligned.match.only_system,
    )


def count_artists(manifest: Manifest) -> int:
    """Count the artists that are known, however they are spelled."""
    return len(set(map(artist_key, manifest.artists)) - {""})


def count_seen(manifest: Manifest, trained_on: Collection[str]) -> int:
    """Count the examples by artists that a system was trained on, as `tagcli.checkpoint.hash_artists` gives them."""
    known_names = set(trained_on)
    keys = list(map(artist_key, manifest.artists))
    seen = {key for key in set(keys) if not known_names.isdisjoint(hash_artists([key]))}
    return sum(key in seen for key in keys)
