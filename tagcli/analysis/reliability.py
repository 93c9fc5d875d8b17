"""Whether systems can be compared by labels that are often wrong, and by few tags in place of all.

Source: Choi et al. 2017, "The effects of noisy labels on deep convolutional neural networks for music tagging", section
III-B2, Fig. 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from tagcli.analysis.annotation_sheet import Sheet, SheetLine, Subset, list_tags
from tagcli.datasets import Manifest
from tagcli.errors import DatasetError
from tagcli.evaluation import Estimate, SystemScores, align
from tagcli.evaluation.document import describe_estimate
from tagcli.metrics import Measures, bootstrap, correlate, interval, mean_over_tags, measure_tags

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MIN_SYSTEMS = 3
"""With two systems a correlation is always 1 or -1."""
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SystemAreas:
    """ROC-AUC of one system, each a mean over tags.

    Parameters
    ----------
    system
        Its name.
    by_truth, by_annotation
        Of the re-annotated tags on the re-annotated excerpts, by the ground truth and by the annotation.
    few_tags, all_tags
        Of the re-annotated tags and of all tags, on all examples, by the ground truth.
    """

    system: str
    by_truth: Estimate
    by_annotation: Estimate
    few_tags: Estimate
    all_tags: Estimate


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far a comparison of systems can be trusted.

    Parameters
    ----------
    dataset
        Name of the data set.
    tags
        The re-annotated ones.
    n_tags
        Number of all tags.
    n_annotated, n_examples
        Re-annotated excerpts, and all examples that every system has heard.
    systems
        In the order that they were given in.
    rho1
        Pearson's correlation, over systems, of the areas by ground truth and by annotation.
    rho2
        The same of the areas over few tags and over all tags.
    n_replicates, seed
        How the intervals were made: a bootstrap over excerpts, whose draws all systems share.
    """

    dataset: str
    tags: tuple[str, ...]
    n_tags: int
    n_annotated: int
    n_examples: int
    systems: tuple[SystemAreas, ...]
    rho1: Estimate
    rho2: Estimate
    n_replicates: int
    seed: int


def measure_reliability(
    manifest: Manifest,
    sheet: Sheet,
    systems: Sequence[SystemScores],
    *,
    n_replicates: int,
    seed: int = 0,
) -> Reliability:
    """Compare the order of systems by ground truth, by annotation, by few tags and by all.

    Parameters
    ----------
    manifest
        The ground truth: all examples that may be judged by.
    sheet
        The annotation; only its random excerpts are judged by.
    systems
        What is compared. Tags and examples that not all of them have are left out.
    n_replicates, seed
        Of the bootstrap; 0 replicates for no intervals.

    Raises
    ------
    DatasetError
        When there are fewer than `MIN_SYSTEMS` systems, no random excerpt is annotated, or systems, data set and
        annotation have too little in common.
    """
    if len(systems) < MIN_SYSTEMS:
        msg = f"Reliability is a correlation over systems, and {len(systems)} are given; give {MIN_SYSTEMS} or more."
        raise DatasetError(msg)
    answered = sheet.find_answered(Subset.RANDOM)
    common, scores = _find_common(manifest, systems)
    tags = list_tags(answered)
    columns = _find_columns(tags, common, [system.name for system in systems])
    answers, is_answered = _lay_out(answered, common, tags)
    rows = np.flatnonzero(is_answered.any(axis=1))
    if not len(rows):
        msg = f"No annotated excerpt is among the {len(common)} examples of {common.name} that all systems have heard;"
        raise DatasetError(msg + " name another split, or score these excerpts.")

    def measure(labels: Mask, given: npt.NDArray[np.floating], known: Mask) -> tuple[Values, Values]:
        """Measure each tag once [shape=(1, n_tags)], and in each replicate [shape=(n_replicates, n_tags)]."""
        drawn: Measures = bootstrap(labels, given, known, n_replicates=n_replicates, seed=seed)
        return measure_tags(labels, given, known).roc_auc[np.newaxis], drawn.roc_auc

    truth, known = common.labels[rows][:, columns], common.known[rows][:, columns] & is_answered[rows]
    areas: list[list[tuple[Values, Values]]] = []
    for given in scores:
        few = given[rows][:, columns]
        by_truth, by_annotation = _keep_defined(measure(truth, few, known), measure(answers[rows], few, known))
        on_all = measure(common.labels, given, common.known)
        parts = (by_truth, by_annotation, _take(on_all, columns), on_all)
        areas.append([(mean_over_tags(once), mean_over_tags(drawn)) for once, drawn in parts])
    return Reliability(
        dataset=manifest.name,
        tags=tags,
        n_tags=len(common.tags),
        n_annotated=len(rows),
        n_examples=len(common),
        systems=tuple(
            SystemAreas(
                system=system.name,
                by_truth=_estimate(*parts[0]),
                by_annotation=_estimate(*parts[1]),
                few_tags=_estimate(*parts[2]),
                all_tags=_estimate(*parts[3]),
            )
            for system, parts in zip(systems, areas, strict=True)
        ),
        rho1=_correlate_systems([(parts[0], parts[1]) for parts in areas]),
        rho2=_correlate_systems([(parts[2], parts[3]) for parts in areas]),
        n_replicates=n_replicates,
        seed=seed,
    )


def describe_reliability(found: Reliability) -> dict[str, Any]:
    """Give what was found as JSON can say it; undefined figures are null."""
    names = ("by_truth", "by_annotation", "few_tags", "all_tags")
    return {
        "format_version": FORMAT_VERSION,
        "dataset": found.dataset,
        "tags": list(found.tags),
        "n_tags": found.n_tags,
        "n_annotated": found.n_annotated,
        "n_examples": found.n_examples,
        "rho1": describe_estimate(found.rho1),
        "rho2": describe_estimate(found.rho2),
        "systems": [
            {"system": areas.system, **{name: describe_estimate(getattr(areas, name)) for name in names}}
            for areas in found.systems
        ],
        "n_replicates": found.n_replicates,
        "seed": found.seed,
    }


def _find_common(
    manifest: Manifest, systems: Sequence[SystemScores]
) -> tuple[Manifest, list[npt.NDArray[np.floating]]]:
    """Find the examples and tags that all systems have, and the scores of each [shape=(n_examples, n_tags)]."""
    aligned = [align(manifest, system) for system in systems]
    rows = reduce(np.intersect1d, (each.rows for each in aligned))
    shared = set(aligned[0].manifest.tags).intersection(*(each.manifest.tags for each in aligned))
    tags = [tag for tag in manifest.tags if tag in shared]
    if not len(rows) or not tags:
        msg = f"The systems have no {'example' if tags else 'tag'} of {manifest.name} in common; score the same ones."
        raise DatasetError(msg)
    taken = [each.take(np.searchsorted(each.rows, rows), tags) for each in aligned]
    return taken[0].manifest, [each.scores for each in taken]


def _find_columns(tags: Sequence[str], common: Manifest, systems: Sequence[str]) -> list[int]:
    """Find the annotated tags among those that all systems have."""
    missing = [tag for tag in tags if tag not in common.tags]
    if missing:
        msg = f"The annotated tag {missing[0]!r} is not in {common.name} and in all of {', '.join(systems)};"
        raise DatasetError(msg + " leave its lines out of the sheet, or leave out the system that lacks it.")
    return [common.tags.index(tag) for tag in tags]


def _lay_out(answered: Sequence[SheetLine], common: Manifest, tags: Sequence[str]) -> tuple[Mask, Mask]:
    """Lay the answers out as a table, and say where there are any [shape=(n_examples, n_tags) each]."""
    row_of_id = {id_: row for row, id_ in enumerate(common.ids)}
    answers: Mask = np.zeros((len(common), len(tags)), dtype=np.bool_)
    is_answered = np.zeros_like(answers)
    for line in answered:
        if line.id in row_of_id:
            cell = row_of_id[line.id], tags.index(line.tag)
            answers[cell], is_answered[cell] = bool(line.annotation), True
    return answers, is_answered


def _take(areas: tuple[Values, Values], columns: Sequence[int]) -> tuple[Values, Values]:
    """Keep some tags."""
    once, drawn = areas
    return once[:, columns], drawn[:, columns]


def _keep_defined(one: tuple[Values, Values], other: tuple[Values, Values]) -> tuple[tuple[Values, Values], ...]:
    """Keep the tags that are defined in both, so that both are means over the same ones."""
    together = [first + second for first, second in zip(one, other, strict=True)]
    return tuple(
        (np.where(np.isnan(together[0]), np.nan, once), np.where(np.isnan(together[1]), np.nan, drawn))
        for once, drawn in (one, other)
    )


def _estimate(once: Values, drawn: Values) -> Estimate:
    """Give a figure and the interval of its replicates."""
    low, high = interval(drawn)
    return Estimate(value=float(once[0]), low=low, high=high)


def _correlate_systems(pairs: Sequence[tuple[tuple[Values, Values], tuple[Values, Values]]]) -> Estimate:
    """Correlate two areas over systems, once and in each replicate; nan where one of them is undefined."""

    def correlate_columns(which: int) -> Values:
        x = np.stack([one[which] for one, _ in pairs], axis=1)
        y = np.stack([other[which] for _, other in pairs], axis=1)
        is_defined = ~np.isnan(x + y).any(axis=1)
        found = np.full(len(x), np.nan)
        found[is_defined] = correlate(x[is_defined], y[is_defined], np.ones(x[is_defined].shape, dtype=np.int64))
        return found

    return _estimate(correlate_columns(0), correlate_columns(1))
