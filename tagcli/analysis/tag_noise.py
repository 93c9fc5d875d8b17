"""Whether a system knows those tags better that people give wherever they belong.

Source: Choi et al. 2017, "The effects of noisy labels on deep convolutional neural networks for music tagging", section
III-B and the discussion of per-tag performance: tags with a low recall in the ground truth, their tagability, are
learned and measured with more noise.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tagcli.datasets.text_files import read_start, read_table, read_text
from tagcli.errors import DatasetError
from tagcli.evaluation import Estimate, TagEvaluation, match_tags
from tagcli.evaluation.document import describe_estimate
from tagcli.metrics import correlate, draw_weights, interval, rank
from tagcli.tags import Category

MIN_TAGS = 3
"""With two tags a rank correlation is always 1 or -1."""
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class NoisyTag:
    """A tag with its area and its recall.

    Parameters
    ----------
    tag, category, n_positive, roc_auc
        As of `tagcli.evaluation.TagEvaluation`.
    recall
        Of the ground truth, in [0, 1]; None where it is not known.
    """

    tag: str
    category: Category
    n_positive: int
    roc_auc: Estimate
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class CategoryNoise:
    """Means over the tags of a kind.

    Parameters
    ----------
    category, n_tags, roc_auc
        Of all of its tags.
    n_recalls, recall
        Of those whose recall is known; None when there is none.
    """

    category: Category
    n_tags: int
    roc_auc: float
    n_recalls: int
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class TagNoise:
    """How areas go with recalls.

    Parameters
    ----------
    tags
        Those whose area is defined, in the order of the evaluation.
    categories
        In the order of `tagcli.tags.Category`.
    correlation
        Spearman's rank correlation of area and recall over the tags that have both, with a bootstrap over these.
    unmatched
        Tags with a recall that the evaluation does not have.
    n_replicates, seed
        Of the bootstrap.
    """

    tags: tuple[NoisyTag, ...]
    categories: tuple[CategoryNoise, ...]
    correlation: Estimate
    unmatched: tuple[str, ...]
    n_replicates: int
    seed: int

    @property
    def known(self) -> tuple[NoisyTag, ...]:
        """Those whose recall is known."""
        return tuple(tag for tag in self.tags if tag.recall is not None)


def read_recalls(path: Path) -> dict[str, float]:
    """Read recalls by tag: what ``tagcli analyze groundtruth report`` has found, as JSON or CSV, or any such table.

    Parameters
    ----------
    path
        A JSON document, or a table with the columns ``tag`` and ``recall``. What has no recall is passed over.

    Raises
    ------
    DatasetError
        When it cannot be read, or a recall is no number from 0 to 1.
    """
    if read_start(path, 256).lstrip().startswith(b"{"):
        try:
            given = [(tag["tag"], tag["recall"]["value"]) for tag in json.loads(read_text(path))["per_tag"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            msg = f"{path} is no report of a ground truth; write one with `tagcli analyze groundtruth report --format"
            raise DatasetError(msg + " json`.", path=path) from error
    else:
        table = read_table(path)
        table.require("tag", "recall")
        given = list(zip(table.columns["tag"], table.columns["recall"], strict=True))
    recalls: dict[str, float] = {}
    for tag, value in given:
        if value is None or value == "":
            continue
        try:
            recall = float(value)
        except (TypeError, ValueError, OverflowError):
            recall = math.nan
        is_twice = isinstance(tag, str) and tag in recalls
        if not isinstance(tag, str) or not 0 <= recall <= 1 or is_twice:
            fault = "twice" if is_twice else f"the recall {value!r:.40}, which is no number from 0 to 1"
            msg = f"{path} gives {tag!r:.80} {fault}; correct it."
            raise DatasetError(msg, path=path)
        recalls[tag] = recall
    return recalls


def relate_noise(
    per_tag: Iterable[TagEvaluation], recalls: Mapping[str, float], *, n_replicates: int, seed: int = 0
) -> TagNoise:
    """Compare how well a system knows tags with how reliably people give them.

    Parameters
    ----------
    per_tag
        What an evaluation has found; tags without an area are left out.
    recalls
        By tag, in [0, 1]; capitals do not matter where that is unambiguous.
    n_replicates, seed
        Of the bootstrap over tags; 0 replicates for no interval.

    Raises
    ------
    DatasetError
        When fewer than `MIN_TAGS` tags have both.
    """
    defined = [tag for tag in per_tag if not math.isnan(tag.roc_auc.value)]
    match = match_tags([tag.tag for tag in defined], list(recalls))
    by_tag = {tag: recalls[spelled] for tag, spelled in zip(match.dataset_tags, match.system_tags, strict=True)}
    tags = tuple(
        NoisyTag(
            tag=tag.tag,
            category=tag.category,
            n_positive=tag.n_positive,
            roc_auc=tag.roc_auc,
            recall=by_tag.get(tag.tag),
        )
        for tag in defined
    )
    pairs = [(tag.roc_auc.value, tag.recall) for tag in tags if tag.recall is not None]
    if len(pairs) < MIN_TAGS:
        msg = (
            f"Noise is compared over tags, and {len(pairs)} have both a ROC-AUC and a recall; give the recall of"
            f" {MIN_TAGS} or more."
        )
        raise DatasetError(msg)
    return TagNoise(
        tags=tags,
        categories=_average_categories(tags),
        correlation=_correlate_ranks(np.array(pairs, dtype=np.float64), n_replicates=n_replicates, seed=seed),
        unmatched=match.only_system,
        n_replicates=n_replicates,
        seed=seed,
    )


def describe_noise(found: TagNoise) -> dict[str, Any]:
    """Give what was found as JSON can say it; undefined figures are null."""
    return {
        "format_version": FORMAT_VERSION,
        "spearman": describe_estimate(found.correlation),
        "n_tags": len(found.known),
        "per_tag": [
            {
                "tag": tag.tag,
                "category": tag.category.value,
                "n_positive": tag.n_positive,
                "roc_auc": describe_estimate(tag.roc_auc),
                "recall": tag.recall,
            }
            for tag in found.tags
        ],
        "by_category": {
            mean.category.value: {
                "n_tags": mean.n_tags,
                "roc_auc": mean.roc_auc,
                "n_recalls": mean.n_recalls,
                "recall": mean.recall,
            }
            for mean in found.categories
        },
        "unmatched": list(found.unmatched),
        "n_replicates": found.n_replicates,
        "seed": found.seed,
    }


def _average_categories(tags: Sequence[NoisyTag]) -> tuple[CategoryNoise, ...]:
    """Take the means over each kind of tags."""
    means = []
    for category in Category:
        members = [tag for tag in tags if tag.category is category]
        recalls = [tag.recall for tag in members if tag.recall is not None]
        if members:
            means.append(
                CategoryNoise(
                    category=category,
                    n_tags=len(members),
                    roc_auc=fmean(tag.roc_auc.value for tag in members),
                    n_recalls=len(recalls),
                    recall=fmean(recalls) if recalls else None,
                )
            )
    return tuple(means)


def _correlate_ranks(pairs: np.ndarray, *, n_replicates: int, seed: int) -> Estimate:
    """Correlate the ranks of two columns [shape=(n_tags, 2)], and draw tags for the interval."""
    areas, recalls = pairs.T
    once = np.ones((1, len(pairs)), dtype=np.int64)
    drawn = [once, *draw_weights(np.arange(len(pairs)), n_replicates=n_replicates, seed=seed)]
    found = [correlate(rank(areas, weights), rank(recalls, weights), weights) for weights in drawn]
    low, high = interval(np.concatenate([np.empty(0), *found[1:]]))
    return Estimate(value=float(found[0][0]), low=low, high=high)
