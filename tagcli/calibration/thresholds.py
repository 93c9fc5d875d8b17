"""Thresholds that reach a precision, or find each tag as often as it is there; and the checkpoint that has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tagcli.annotate import STORED_SCORE
from tagcli.checkpoint import load_tensors, read_header, save_checkpoint
from tagcli.errors import CheckpointError

MIN_FOUND = 5
"""Least number of positives found, from which on a precision is believed."""
NEVER = 2.0
"""The threshold of a tag that does not reach the precision: above every score."""
_SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class TagThreshold:
    """The threshold of one tag, and what it does on the examples that it was found with.

    Parameters
    ----------
    threshold
        Least score of a stored tag; `NEVER` when no score does.
    precision, recall
        Share of the found ones that are right, and of the right ones that are found; precision is nan when none is
        found, recall when there is nothing to find.
    n_found, n_positive
        Positives that are found, and that there are.
    """

    threshold: float
    precision: float
    recall: float
    n_found: int
    n_positive: int


Calibration: TypeAlias = Callable[[npt.NDArray[np.bool_], npt.NDArray[np.floating]], TagThreshold]
"""A way to a tag's threshold, from labels and scores of the examples of which both are known [shape=(n_examples,)]."""


def find_threshold(
    labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], *, precision: float
) -> TagThreshold:
    """Find the smallest threshold of a tag that reaches a precision and finds at least `MIN_FOUND` positives.

    Parameters
    ----------
    labels, scores
        Of the examples of which both are known [shape=(n_examples,)].
    precision
        In (0, 1].
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    n_found = np.cumsum(labels[order])
    precisions = n_found / np.arange(1, len(ranked) + 1)
    is_last_of_ties = np.append(ranked[1:] != ranked[:-1], np.ones(min(1, len(ranked)), dtype=np.bool_))
    n_positive = int(labels.sum())
    places = np.flatnonzero(is_last_of_ties & (precisions >= precision) & (n_found >= MIN_FOUND))
    if not len(places):
        recall = 0.0 if n_positive else float("nan")
        return TagThreshold(threshold=NEVER, precision=float("nan"), recall=recall, n_found=0, n_positive=n_positive)
    place = int(places[-1])
    return TagThreshold(
        threshold=float(ranked[place]),
        precision=float(precisions[place]),
        recall=float(n_found[place] / n_positive),
        n_found=int(n_found[place]),
        n_positive=n_positive,
    )


def match_frequency(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> TagThreshold:
    """Find the threshold that as many examples reach as carry the tag: there precision and recall are equal.

    Parameters
    ----------
    labels, scores
        Of the examples of which both are known [shape=(n_examples,)].

    Returns
    -------
    TagThreshold
        `STORED_SCORE` where fewer than `MIN_FOUND` examples carry the tag: how often it is there is not known then.
    """
    n_positive = int(labels.sum())
    is_known = n_positive >= MIN_FOUND
    threshold = float(np.sort(scores)[-n_positive]) if is_known else STORED_SCORE
    is_found = scores >= threshold
    n_found = int((labels & is_found).sum())
    return TagThreshold(
        threshold=threshold,
        precision=n_found / int(is_found.sum()) if is_found.any() else float("nan"),
        recall=n_found / n_positive if n_positive else float("nan"),
        n_found=n_found,
        n_positive=n_positive,
    )


def save_thresholds(source: Path, target: Path, thresholds: Mapping[str, float]) -> None:
    """Write a copy of a checkpoint that carries thresholds.

    Parameters
    ----------
    source
        The checkpoint.
    target
        The copy, a ``.safetensors`` file; may be the checkpoint itself.
    thresholds
        By tag, as the checkpoint spells it. A tag without one keeps its own, or gets `STORED_SCORE`.

    Raises
    ------
    CheckpointError
        When the checkpoint cannot be read, or the copy not be written.
    """
    if target.suffix != _SUFFIX:
        msg = f"{target} does not end in {_SUFFIX}, so that no model would be looked for in it; name it so."
        raise CheckpointError(msg, path=target)
    header = read_header(source)
    own = header.thresholds or (STORED_SCORE,) * len(header.vocabulary)
    kept = zip(header.vocabulary.tags, own, strict=True)
    calibrated = replace(header, thresholds=tuple(thresholds.get(tag, threshold) for tag, threshold in kept))
    save_checkpoint(target, calibrated, load_tensors(source))
