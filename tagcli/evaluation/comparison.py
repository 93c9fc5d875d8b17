"""Whether one system is better than another: both under the same draws of the same examples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.errors import DatasetError
from tagcli.evaluation.alignment import Aligned
from tagcli.evaluation.evaluating import DEFAULT_REPLICATES
from tagcli.evaluation.grouping import Grouping, choose_grouping, group_examples
from tagcli.metrics import Measures, bootstrap, interval, macro, mean_over_tags, measure, sign_p

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of two systems.

    Parameters
    ----------
    value, other
        Of the system and of the other; nan where undefined.
    difference, low, high
        The former less the latter, and the 95 % interval of the difference in each replicate.
    p
        Two-sided: how likely a difference at least as large is when there is none.
    """

    value: float
    other: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True)
class PairedFigures:
    """Both measures of a tag, or of several."""

    roc_auc: Difference
    pr_auc: Difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two systems on what both have heard.

    Parameters
    ----------
    system, other
        Their names.
    n_examples, n_tags
        What both have; tags that are defined.
    grouping, n_replicates, seed
        How the intervals were made.
    macro, micro, per_tag
        As in `Evaluation`.
    """

    system: str
    other: str
    n_examples: int
    n_tags: int
    grouping: Grouping
    n_replicates: int
    seed: int
    macro: PairedFigures
    micro: PairedFigures
    per_tag: dict[str, PairedFigures]


def compare(
    aligned: Aligned,
    other: Aligned,
    *,
    by: Grouping | None = None,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by a paired bootstrap.

    Parameters
    ----------
    aligned, other
        Both from the same data set.
    by, n_replicates, seed
        As for `tagcli.evaluation.evaluate`.

    Raises
    ------
    DatasetError
        When they have no tag or no example in common.
    """
    tags = [tag for tag in aligned.manifest.tags if tag in set(other.manifest.tags)]
    _, rows, other_rows = np.intersect1d(aligned.rows, other.rows, assume_unique=True, return_indices=True)
    if not tags or not len(rows):
        what = "tag" if not tags else "example"
        msg = (
            f"{aligned.system} and {other.system} have no {what} of {aligned.manifest.name} in common; compare others."
        )
        raise DatasetError(msg)
    one, two = aligned.take(rows, tags), other.take(other_rows, tags)
    manifest = one.manifest
    known = manifest.known & ~np.isnan(one.scores) & ~np.isnan(two.scores)
    grouping = choose_grouping(manifest, by)
    groups = group_examples(manifest, grouping)
    points = [measure(manifest.labels, scores, known) for scores in (one.scores, two.scores)]
    replicates = [
        bootstrap(manifest.labels, scores, known, groups=groups, n_replicates=n_replicates, seed=seed)
        for scores in (one.scores, two.scores)
    ]

    def subtract(pick: Callable[[Measures], Values]) -> Difference:
        value, other_value = (float(pick(each)) for each in points)
        differences = pick(replicates[0]) - pick(replicates[1])
        low, high = interval(differences)
        return Difference(
            value=value,
            other=other_value,
            difference=value - other_value,
            low=low,
            high=high,
            p=sign_p(differences),
        )

    def subtract_tag(column: int) -> PairedFigures:
        return PairedFigures(
            roc_auc=subtract(lambda each: each.roc_auc[..., column]),
            pr_auc=subtract(lambda each: each.average_precision[..., column]),
        )

    return Comparison(
        system=aligned.system,
        other=other.system,
        n_examples=len(manifest),
        n_tags=macro(points[0].roc_auc).n_defined,
        grouping=grouping,
        n_replicates=n_replicates,
        seed=seed,
        macro=PairedFigures(
            roc_auc=subtract(lambda each: mean_over_tags(each.roc_auc)),
            pr_auc=subtract(lambda each: mean_over_tags(each.average_precision)),
        ),
        micro=PairedFigures(
            roc_auc=subtract(lambda each: each.micro_roc_auc),
            pr_auc=subtract(lambda each: each.micro_average_precision),
        ),
        per_tag={tag: subtract_tag(column) for column, tag in enumerate(tags)},
    )
