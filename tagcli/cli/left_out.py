"""What an evaluation does not judge, and why, told on stderr."""

import logging
from collections.abc import Iterable, Sequence

from tagcli.evaluation import Agreement, Aligned

logger = logging.getLogger(__name__)


def tell_left_out(aligned: Aligned) -> None:
    """Tell what of a data set, and of a system, is not judged."""
    name, dataset, match = aligned.system, aligned.manifest.name, aligned.match
    _tell_of_tags(match.only_system, name, dataset)
    _tell_of_tags(match.only_dataset, dataset, name)
    _tell_of_examples(
        (
            (aligned.n_unlabelled, "know none of the tags"),
            (aligned.n_missing, f"have no scores of {name}"),
            (aligned.n_unheard, "could not be heard"),
        )
    )


def tell_left_out_of_agreement(agreement: Agreement) -> None:
    """Tell what a student and its teacher are not compared by."""
    student, teacher = agreement.student, agreement.teacher
    _tell_of_tags(agreement.only_student, student, teacher)
    _tell_of_tags(agreement.only_teacher, teacher, student)
    _tell_of_examples(
        (
            (agreement.n_missing, f"have no scores of {student}, or of {teacher}"),
            (agreement.n_unheard, "could not be heard"),
        )
    )


def _tell_of_tags(tags: Sequence[str], owner: str, other: str) -> None:
    if tags:
        logger.warning("Left out are %d tags that only %s has, not %s: %s.", len(tags), owner, other, ", ".join(tags))


def _tell_of_examples(counts: Iterable[tuple[int, str]]) -> None:
    for n_examples, reason in counts:
        if n_examples:
            logger.warning("Left out are %d examples that %s.", n_examples, reason)
