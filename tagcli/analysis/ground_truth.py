"""How far the ground truth can be trusted, by what somebody says who has listened.

Source: Choi et al. 2017, "The effects of noisy labels on deep convolutional neural networks for music tagging", section
III-B, Table I.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from tagcli.analysis.annotation_sheet import Sheet, SheetLine, Subset, list_tags
from tagcli.evaluation import Estimate
from tagcli.evaluation.document import describe_estimate
from tagcli.metrics import interval, wilson_interval

Rates = npt.NDArray[np.float64]

DEFAULT_REPLICATES = 10_000
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TagTruth:
    """What was found of the labels of one tag: a row of Table I.

    Parameters
    ----------
    tag
        The tag.
    n_heard_positive, n_heard_negative
        Balanced excerpts with and without the label that somebody has listened to.
    error_in_positives, error_in_negatives
        Share of these whose label is wrong.
    precision
        Share of the excerpts with the label that deserve it.
    recall
        Share of the excerpts that deserve the label which have it, if half of all had it: how likely people are to
        give the tag where it belongs, its tagability.
    n_positive, n_known
        Examples of the data set that carry the tag, and of which this is known.
    n_estimated
        How many deserve it (equation 2).
    n_random, n_reannotated
        Random excerpts that somebody has listened to, and how many of them deserve the tag.
    share_reannotated
        Of the random excerpts.
    """

    tag: str
    n_heard_positive: int
    n_heard_negative: int
    error_in_positives: Estimate
    error_in_negatives: Estimate
    precision: Estimate
    recall: Estimate
    n_positive: int
    n_known: int
    n_estimated: Estimate
    n_random: int
    n_reannotated: int
    share_reannotated: Estimate


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """What was found of the labels.

    Parameters
    ----------
    per_tag
        In the order of the sheet.
    n_unanswered
        Questions that nobody has answered yet; they are left out.
    n_replicates, seed
        How the intervals of recall and of the estimate were made.
    """

    per_tag: tuple[TagTruth, ...]
    n_unanswered: int
    n_replicates: int
    seed: int

    @property
    def mean_error_in_positives(self) -> float:
        """Mean over the tags that are defined."""
        return _mean(tag.error_in_positives.value for tag in self.per_tag)

    @property
    def mean_error_in_negatives(self) -> float:
        """Mean over the tags that are defined."""
        return _mean(tag.error_in_negatives.value for tag in self.per_tag)


def find_recall(error_in_positives: Rates, error_in_negatives: Rates) -> Rates:
    """Compute recall where half of the examples carry the label: true positives by these and false negatives.

    Parameters
    ----------
    error_in_positives, error_in_negatives
        Shares of wrong labels [shape=(...)], in [0, 1].

    Returns
    -------
    numpy.ndarray
        [shape=(...)], nan where nothing deserves the label.
    """
    correct = 1 - error_in_positives
    deserving = correct + error_in_negatives
    return np.where(deserving > 0, correct / np.where(deserving > 0, deserving, 1.0), np.nan)


def estimate_positives(error_in_positives: Rates, error_in_negatives: Rates, *, n_positive: int, n_known: int) -> Rates:
    """Estimate how many examples deserve a label.

    Source: Choi et al. 2017, equation 2.

    Parameters
    ----------
    error_in_positives, error_in_negatives
        Shares of wrong labels [shape=(...)], in [0, 1].
    n_positive, n_known
        Examples that carry the label, and all of which this is known.
    """
    return np.asarray(n_positive * (1 - error_in_positives) + (n_known - n_positive) * error_in_negatives)


def judge_rates(
    tag: str, *, error_in_positives: float, error_in_negatives: float, n_positive: int, n_known: int
) -> TagTruth:
    """Conclude from error rates that somebody has published, without intervals.

    Parameters
    ----------
    tag
        The tag.
    error_in_positives, error_in_negatives, n_positive, n_known
        As of `TagTruth`.
    """
    positives, negatives = np.asarray(error_in_positives), np.asarray(error_in_negatives)
    return TagTruth(
        tag=tag,
        n_heard_positive=0,
        n_heard_negative=0,
        error_in_positives=_bare(error_in_positives),
        error_in_negatives=_bare(error_in_negatives),
        precision=_bare(1 - error_in_positives),
        recall=_bare(float(find_recall(positives, negatives))),
        n_positive=n_positive,
        n_known=n_known,
        n_estimated=_bare(
            float(estimate_positives(positives, negatives, n_positive=n_positive, n_known=n_known)),
        ),
        n_random=0,
        n_reannotated=0,
        share_reannotated=_bare(math.nan),
    )


def judge_ground_truth(sheet: Sheet, *, n_replicates: int = DEFAULT_REPLICATES, seed: int = 0) -> GroundTruth:
    """Compare labels with what somebody says who has listened.

    Intervals of shares are Wilson's. Recall and the estimate depend on two error rates, which are drawn again and
    again from what is likely after the count: Jeffreys' beta distribution (Brown, Cai & DasGupta 2001, "Interval
    estimation for a binomial proportion"), by which no error among 50 is not taken for none at all; at the ends, where
    it leaves the count itself out, their intervals are widened to it.

    Parameters
    ----------
    sheet
        Questions, answered or not.
    n_replicates
        How many draws; 0 for no such intervals.
    seed
        Of the draws.

    Raises
    ------
    DatasetError
        When no question is answered.
    """
    answered = sheet.find_answered(*Subset)
    generator = np.random.default_rng(seed)
    return GroundTruth(
        per_tag=tuple(
            _judge_tag([line for line in answered if line.tag == tag], n_replicates=n_replicates, generator=generator)
            for tag in list_tags(answered)
        ),
        n_unanswered=len(sheet.lines) - len(answered),
        n_replicates=n_replicates,
        seed=seed,
    )


def describe_ground_truth(truth: GroundTruth) -> dict[str, Any]:
    """Give what was found as JSON can say it; undefined figures are null."""
    estimates = ("error_in_positives", "error_in_negatives", "precision", "recall", "n_estimated", "share_reannotated")
    counts = ("n_heard_positive", "n_heard_negative", "n_positive", "n_known", "n_random", "n_reannotated")
    means = (truth.mean_error_in_positives, truth.mean_error_in_negatives)
    return {
        "format_version": FORMAT_VERSION,
        "per_tag": [
            {
                "tag": tag.tag,
                **{name: getattr(tag, name) for name in counts},
                **{name: describe_estimate(getattr(tag, name)) for name in estimates},
            }
            for tag in truth.per_tag
        ],
        "mean_error_in_positives": None if math.isnan(means[0]) else means[0],
        "mean_error_in_negatives": None if math.isnan(means[1]) else means[1],
        "n_unanswered": truth.n_unanswered,
        "n_replicates": truth.n_replicates,
        "seed": truth.seed,
    }


def _judge_tag(lines: Sequence[SheetLine], *, n_replicates: int, generator: np.random.Generator) -> TagTruth:
    """Conclude from the answers to the questions of one tag."""
    balanced = [line for line in lines if line.subset is Subset.BALANCED]
    random = [line for line in lines if line.subset is Subset.RANDOM]
    n_positive, n_known = lines[0].n_positive, lines[0].n_known
    positives = [line.annotation is False for line in balanced if line.label]
    negatives = [line.annotation is True for line in balanced if not line.label]
    errors = [(sum(answers), len(answers)) for answers in (positives, negatives)]
    given = [np.asarray(n_wrong / n_heard if n_heard else math.nan) for n_wrong, n_heard in errors]
    drawn = [
        generator.beta(n_wrong + 0.5, n_heard - n_wrong + 0.5, n_replicates)
        if n_heard
        else np.full(n_replicates, np.nan)
        for n_wrong, n_heard in errors
    ]

    def propagate(value: Rates, replicates: Rates) -> Estimate:
        if math.isnan(value):
            return _bare(math.nan)
        low, high = interval(replicates)
        return Estimate(value=float(value), low=min(low, float(value)), high=max(high, float(value)))

    n_correct = len(positives) - sum(positives)
    n_deserving = sum(line.annotation is True for line in random)
    return TagTruth(
        tag=lines[0].tag,
        n_heard_positive=len(positives),
        n_heard_negative=len(negatives),
        error_in_positives=_share(*errors[0]),
        error_in_negatives=_share(*errors[1]),
        precision=_share(n_correct, len(positives)),
        recall=propagate(find_recall(*given), find_recall(*drawn)),
        n_positive=n_positive,
        n_known=n_known,
        n_estimated=propagate(
            estimate_positives(*given, n_positive=n_positive, n_known=n_known),
            estimate_positives(*drawn, n_positive=n_positive, n_known=n_known),
        ),
        n_random=len(random),
        n_reannotated=n_deserving,
        share_reannotated=_share(n_deserving, len(random)),
    )


def _share(n_hits: int, n_drawn: int) -> Estimate:
    share = n_hits / n_drawn if n_drawn else math.nan
    low, high = wilson_interval(share, n_drawn)
    return Estimate(value=share, low=low, high=high)


def _bare(value: float) -> Estimate:
    return Estimate(value=value, low=math.nan, high=math.nan)


def _mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan
