"""How closely a student follows its teacher: what both say of the same examples, whatever their labels are."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tagcli.datasets import Manifest
from tagcli.errors import DatasetError
from tagcli.evaluation.alignment import TagMatch, align, match_tags
from tagcli.evaluation.evaluating import DEFAULT_REPLICATES, SEEN_SPLIT, Estimate, count_artists, count_seen
from tagcli.evaluation.grouping import Grouping, choose_grouping, group_examples
from tagcli.evaluation.pairing import Figures, Pair
from tagcli.evaluation.systems import SystemScores
from tagcli.metrics import draw_weights, interval, mean_over_tags

Values = npt.NDArray[np.float64]

MIN_TOP_EXAMPLES = 10
"""Least number of such examples of a tag that is tested."""


@dataclass(frozen=True, kw_only=True)
class TagAgreement:
    """How closely the student follows the teacher in one tag.

    Parameters
    ----------
    tag
        As the teacher spells it.
    n_top
        Examples in which it is among the teacher's `pairing.N_TOP_LABELS` best, of all that it has.
    pearson
        Correlation of the logits of both; nan when those of one are constant.
    spearman
        Correlation of the ranks of their scores; nan likewise.
    roc_auc
        Of the student's scores against being among the teacher's best; nan when all examples are, or none is.
    """

    tag: str
    n_top: int
    pearson: Estimate
    spearman: Estimate
    roc_auc: Estimate

    @property
    def is_tested(self) -> bool:
        """Whether there are enough examples of it."""
        return self.n_top >= MIN_TOP_EXAMPLES

    @property
    def is_defined(self) -> bool:
        """Whether it has all three figures."""
        return not any(np.isnan(figure.value) for figure in (self.pearson, self.spearman, self.roc_auc))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How closely a student follows its teacher on a data set.

    Parameters
    ----------
    student, teacher, dataset, split
        Their names; no split when the data set was taken whole.
    is_seen, n_seen
        As in `tagcli.evaluation.Evaluation`, of the student.
    n_examples, n_artists
        What both have heard; artists that are known.
    n_missing, n_unheard
        Examples that were left out: of which one of them says nothing, and which one of them could not hear.
    grouping, n_groups, n_replicates, seed
        How the intervals were made.
    pearson, spearman, roc_auc
        Means over the tags that are tested and defined.
    overlap
        Mean over the examples of how many of the teacher's `pairing.N_OVERLAP` best tags are among the student's;
        of all tags that each of them has, and nan when one has no more than that.
    per_tag
        In the teacher's order, tested or not.
    only_teacher, only_student
        Tags that are not judged, because the other one does not have them.
    """

    student: str
    teacher: str
    dataset: str
    split: str | None
    is_seen: bool
    n_seen: int
    n_examples: int
    n_artists: int
    n_missing: int
    n_unheard: int
    grouping: Grouping
    n_groups: int
    n_replicates: int
    seed: int
    pearson: Estimate
    spearman: Estimate
    roc_auc: Estimate
    overlap: Estimate
    per_tag: tuple[TagAgreement, ...]
    only_teacher: tuple[str, ...]
    only_student: tuple[str, ...]

    @property
    def tested(self) -> tuple[TagAgreement, ...]:
        """Tags with enough examples."""
        return tuple(tag for tag in self.per_tag if tag.is_tested)

    @property
    def untested(self) -> tuple[TagAgreement, ...]:
        """The others, which are no part of the means."""
        return tuple(tag for tag in self.per_tag if not tag.is_tested)

    @property
    def undefined(self) -> tuple[str, ...]:
        """Tested tags that lack a figure, and are no part of its mean."""
        return tuple(tag.tag for tag in self.tested if not tag.is_defined)


def match_teacher(student: str, student_tags: Sequence[str], teacher: str, teacher_tags: Sequence[str]) -> TagMatch:
    """Find the tags that a student shares with its teacher, who takes the place of the data set in the match.

    Raises
    ------
    DatasetError
        When there is none.
    """
    match = match_tags(teacher_tags, student_tags)
    if not match.dataset_tags:
        msg = f"{student} and {teacher} have no tag in common, so that nothing can be compared; name another teacher."
        raise DatasetError(msg)
    return match


def clear_labels(manifest: Manifest, tags: Sequence[str]) -> Manifest:
    """Make the data set that a teacher is to label: the same examples, and its tags, of which none is there yet."""
    shape = (len(manifest), len(tags))
    return replace(
        manifest, tags=tuple(tags), labels=np.zeros(shape, dtype=np.bool_), known=np.ones(shape, dtype=np.bool_)
    )


def agree(
    manifest: Manifest,
    *,
    student: SystemScores,
    teacher: SystemScores,
    split: str | None,
    trained_on: Collection[str] = (),
    by: Grouping | None = None,
    n_replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
) -> Agreement:
    """Measure how closely a student follows its teacher, on the examples and in the tags that both have.

    Parameters
    ----------
    manifest
        The examples; their labels are not looked at.
    student, teacher
        Scores in [0, 1]. An example counts as unheard by whom it lacks a score of.
    split, by, n_replicates, seed
        As for `tagcli.evaluation.evaluate`.
    trained_on
        Artists that the student was trained on, likewise.

    Raises
    ------
    DatasetError
        When they have no tag or no example in common, a score does not lie in [0, 1], or artists are to be drawn and
        none is known.
    """
    match = match_teacher(student.name, student.tags, teacher.name, teacher.tags)
    student, teacher = _keep_whole(student), _keep_whole(teacher)
    taught = align(clear_labels(manifest, match.dataset_tags), teacher)
    heard = align(taught.manifest, student)
    grouping = choose_grouping(heard.manifest, by)
    groups = group_examples(heard.manifest, grouping)
    pair = Pair(
        student=_take(student, heard.manifest.ids),
        teacher=_take(teacher, heard.manifest.ids),
        student_columns=list(map(student.tags.index, match.system_tags)),
        teacher_columns=list(map(teacher.tags.index, match.dataset_tags)),
    )
    point = pair.measure(np.ones((1, len(groups)), dtype=np.int64))
    draws = [pair.measure(weights) for weights in draw_weights(groups, n_replicates=n_replicates, seed=seed)]
    n_top = pair.labels.sum(axis=0)
    tested = np.flatnonzero(n_top >= MIN_TOP_EXAMPLES)

    def estimate(pick: Callable[[Figures], Values]) -> Estimate:
        low, high = interval(np.concatenate([np.empty(0), *map(pick, draws)]))
        return Estimate(value=float(pick(point)[0]), low=low, high=high)

    def take_tag(column: int) -> TagAgreement:
        return TagAgreement(
            tag=match.dataset_tags[column],
            n_top=int(n_top[column]),
            pearson=estimate(lambda each: each.pearson[:, column]),
            spearman=estimate(lambda each: each.spearman[:, column]),
            roc_auc=estimate(lambda each: each.roc_auc[:, column]),
        )

    n_seen = count_seen(heard.manifest, trained_on)
    return Agreement(
        student=student.name,
        teacher=teacher.name,
        dataset=manifest.name,
        split=split,
        is_seen=split == SEEN_SPLIT or n_seen > 0,
        n_seen=n_seen,
        n_examples=len(groups),
        n_artists=count_artists(heard.manifest),
        n_missing=taught.n_missing + heard.n_missing,
        n_unheard=taught.n_unheard + heard.n_unheard,
        grouping=grouping,
        n_groups=len(set(groups.tolist())),
        n_replicates=n_replicates,
        seed=seed,
        pearson=estimate(lambda each: mean_over_tags(each.pearson[:, tested])),
        spearman=estimate(lambda each: mean_over_tags(each.spearman[:, tested])),
        roc_auc=estimate(lambda each: mean_over_tags(each.roc_auc[:, tested])),
        overlap=estimate(lambda each: each.overlap),
        per_tag=tuple(map(take_tag, range(len(n_top)))),
        only_teacher=match.only_dataset,
        only_student=match.only_system,
    )


def _keep_whole(system: SystemScores) -> SystemScores:
    """Keep only examples that a system has all its scores of."""
    if np.any((system.scores < 0) | (system.scores > 1)):
        msg = f"{system.name} has scores that do not lie between 0 and 1, so that they have no logits; store such ones."
        raise DatasetError(msg)
    is_whole = ~np.isnan(system.scores).any(axis=1, keepdims=True)
    return replace(system, scores=np.where(is_whole, system.scores, np.nan))


def _take(system: SystemScores, ids: Sequence[str]) -> npt.NDArray[np.floating]:
    """Take all scores of some examples [shape=(n_examples, n_tags)]."""
    row_of_id = {id_: row for row, id_ in enumerate(system.ids)}
    return system.scores[[row_of_id[id_] for id_ in ids]]
