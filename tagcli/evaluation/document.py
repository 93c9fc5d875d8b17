"""An evaluation as data, in the schema of ``tagcli eval --format json``: an undefined figure is null."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tagcli.evaluation.agreement import MIN_TOP_EXAMPLES, Agreement, TagAgreement
from tagcli.evaluation.comparison import Comparison, Difference, PairedFigures
from tagcli.evaluation.disagreements import Disagreement
from tagcli.evaluation.evaluating import Estimate, Evaluation, MeanEvaluation, TagEvaluation
from tagcli.evaluation.pairing import N_TOP_LABELS
from tagcli.metrics import CONFIDENCE

FORMAT_VERSION = 1


def describe_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Give an evaluation as JSON can say it."""
    return {
        "format_version": FORMAT_VERSION,
        "system": evaluation.system,
        "dataset": evaluation.dataset,
        "split": evaluation.split,
        "is_seen": evaluation.is_seen,
        "n_seen": evaluation.n_seen,
        "n_examples": evaluation.n_examples,
        "n_artists": evaluation.n_artists,
        "n_unlabelled": evaluation.n_unlabelled,
        "n_missing": evaluation.n_missing,
        "n_unheard": evaluation.n_unheard,
        "bootstrap": _describe_bootstrap(evaluation),
        "macro": _describe_mean(evaluation.macro),
        "micro": _describe_mean(evaluation.micro),
        "by_category": {category.value: _describe_mean(mean) for category, mean in evaluation.by_category.items()},
        "per_tag": [_describe_tag(tag) for tag in evaluation.per_tag],
        "undefined": list(evaluation.undefined),
        "only_dataset": list(evaluation.only_dataset),
        "only_system": list(evaluation.only_system),
    }


def describe_agreement(agreement: Agreement) -> dict[str, Any]:
    """Give an agreement as JSON can say it."""
    return {
        "format_version": FORMAT_VERSION,
        "system": agreement.student,
        "teacher": agreement.teacher,
        "dataset": agreement.dataset,
        "split": agreement.split,
        "is_seen": agreement.is_seen,
        "n_seen": agreement.n_seen,
        "n_examples": agreement.n_examples,
        "n_artists": agreement.n_artists,
        "n_missing": agreement.n_missing,
        "n_unheard": agreement.n_unheard,
        "bootstrap": _describe_bootstrap(agreement),
        "n_top_labels": N_TOP_LABELS,
        "min_top_examples": MIN_TOP_EXAMPLES,
        "macro": {
            "pearson": describe_estimate(agreement.pearson),
            "spearman": describe_estimate(agreement.spearman),
            "roc_auc": describe_estimate(agreement.roc_auc),
            "n_tags": len(agreement.tested),
        },
        "top5_overlap": describe_estimate(agreement.overlap),
        "per_tag": [_describe_tag_agreement(tag) for tag in agreement.per_tag],
        "untested": [tag.tag for tag in agreement.untested],
        "undefined": list(agreement.undefined),
        "only_teacher": list(agreement.only_teacher),
        "only_system": list(agreement.only_student),
    }


def describe_comparison(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison as JSON can say it."""
    return {
        "system": comparison.system,
        "other": comparison.other,
        "n_examples": comparison.n_examples,
        "n_tags": comparison.n_tags,
        "macro": _describe_pair(comparison.macro),
        "micro": _describe_pair(comparison.micro),
        "per_tag": [{"tag": tag, **_describe_pair(pair)} for tag, pair in comparison.per_tag.items()],
    }


def describe_disagreements(disagreements: Sequence[Disagreement]) -> list[dict[str, Any]]:
    """Give disagreements as JSON can say them."""
    return [
        {
            "path": found.path,
            "id": found.id,
            "tag": found.tag,
            "is_labelled": found.is_labelled,
            "score": found.score,
            "share": found.share,
        }
        for found in disagreements
    ]


def nullify(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Put None in place of nan, which JSON cannot say."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def describe_estimate(estimate: Estimate) -> dict[str, float | None]:
    """Give a figure and its interval as JSON can say them."""
    return nullify({"value": estimate.value, "low": estimate.low, "high": estimate.high})


def _describe_bootstrap(found: Evaluation | Agreement) -> dict[str, Any]:
    return {
        "confidence": CONFIDENCE,
        "by": found.grouping.value,
        "n_groups": found.n_groups,
        "n_replicates": found.n_replicates,
        "seed": found.seed,
    }


def _describe_mean(mean: MeanEvaluation) -> dict[str, Any]:
    return {
        "roc_auc": describe_estimate(mean.roc_auc),
        "pr_auc": describe_estimate(mean.pr_auc),
        "n_tags": mean.n_tags,
    }


def _describe_tag(tag: TagEvaluation) -> dict[str, Any]:
    return {
        "tag": tag.tag,
        "category": tag.category.value,
        "n_positive": tag.n_positive,
        "n_negative": tag.n_negative,
        **_flatten_estimates({"roc_auc": tag.roc_auc, "pr_auc": tag.pr_auc}),
    }


def _describe_tag_agreement(tag: TagAgreement) -> dict[str, Any]:
    return {
        "tag": tag.tag,
        "n_top": tag.n_top,
        "is_tested": tag.is_tested,
        **_flatten_estimates({"pearson": tag.pearson, "spearman": tag.spearman, "roc_auc": tag.roc_auc}),
    }


def _flatten_estimates(estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    figures: dict[str, float] = {}
    for name, estimate in estimates.items():
        figures |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return nullify(figures)


def _describe_pair(pair: PairedFigures) -> dict[str, Any]:
    return {"roc_auc": _describe_difference(pair.roc_auc), "pr_auc": _describe_difference(pair.pr_auc)}


def _describe_difference(difference: Difference) -> dict[str, float | None]:
    return nullify(
        {
            "value": difference.value,
            "other": difference.other,
            "difference": difference.difference,
            "low": difference.low,
            "high": difference.high,
            "p": difference.p,
        }
    )
