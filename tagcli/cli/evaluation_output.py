"""What `eval` found, printed: tables to read, one JSON document, or one CSV line for each figure."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from tagcli.calibration import NEVER, TagThreshold
from tagcli.cli.evaluation_tables import (
    list_estimate,
    print_table,
    round_figure,
    round_interval,
    tell_of_intervals,
    tell_of_seen,
)
from tagcli.cli.options import EvaluationFormat
from tagcli.evaluation import Comparison, Difference, Disagreement, Evaluation, MeanEvaluation
from tagcli.evaluation.document import describe_comparison, describe_disagreements, describe_evaluation, nullify
from tagcli.rows import make_readable


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that one run has found.

    Parameters
    ----------
    model
        Name and SHA-256 of the checkpoint; None for stored scores.
    evaluation
        The figures.
    comparison, thresholds, disagreements
        When they were asked for.
    """

    model: Mapping[str, str] | None
    evaluation: Evaluation
    comparison: Comparison | None = None
    thresholds: Mapping[str, TagThreshold] | None = None
    disagreements: Sequence[Disagreement] | None = None


def print_findings(findings: Findings, format_: EvaluationFormat, stream: TextIO) -> None:
    """Print what was found."""
    if format_ is EvaluationFormat.JSON:
        json.dump(_describe(findings), stream, ensure_ascii=False, indent=2)
        stream.write("\n")
    elif format_ is EvaluationFormat.CSV:
        _write_csv(findings, stream)
    else:
        _print_tables(findings, stream)


def _describe(findings: Findings) -> dict[str, Any]:
    comparison, disagreements = findings.comparison, findings.disagreements
    return {
        **describe_evaluation(findings.evaluation),
        "model": findings.model,
        "comparison": None if comparison is None else describe_comparison(comparison),
        "thresholds": _describe_thresholds(findings.thresholds),
        "disagreements": None if disagreements is None else describe_disagreements(disagreements),
    }


def _describe_thresholds(thresholds: Mapping[str, TagThreshold] | None) -> list[dict[str, Any]] | None:
    if thresholds is None:
        return None
    return [
        {
            "tag": tag,
            "threshold": None if found.threshold == NEVER else found.threshold,
            **nullify({"precision": found.precision, "recall": found.recall}),
            "n_found": found.n_found,
            "n_positive": found.n_positive,
        }
        for tag, found in thresholds.items()
    ]


def _write_csv(findings: Findings, stream: TextIO) -> None:
    document = _describe(findings)
    columns = ["split", "is_seen", "scope", "tag", "category", "n_positive", "n_negative", "n_tags"]
    for name in ("roc_auc", "pr_auc"):
        columns += [name, f"{name}_low", f"{name}_high"]
    differences = ("other", "difference", "difference_low", "difference_high", "p")
    columns += [f"{name}_{part}" for name in ("roc_auc", "pr_auc") for part in differences]
    columns += ["threshold", "precision", "recall"]
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    comparison = document["comparison"] or {"macro": {}, "micro": {}, "per_tag": []}
    where = {"split": document["split"], "is_seen": document["is_seen"]}
    for scope in ("macro", "micro"):
        writer.writerow({**where, "scope": scope, **_flatten(document[scope]), **_flatten_pair(comparison[scope])})
    for category, mean in document["by_category"].items():
        writer.writerow({**where, "scope": "category", "category": category, **_flatten(mean)})
    pairs = {pair["tag"]: pair for pair in comparison["per_tag"]}
    thresholds = {found["tag"]: found for found in document["thresholds"] or []}
    for tag in document["per_tag"]:
        name = tag["tag"]
        pair, threshold = _flatten_pair(pairs.get(name, {})), thresholds.get(name, {})
        writer.writerow({**where, "scope": "tag", **threshold, **tag, **pair})


def _flatten(mean: Mapping[str, Any]) -> dict[str, Any]:
    cells = {"n_tags": mean["n_tags"]}
    for name in ("roc_auc", "pr_auc"):
        cells |= {name: mean[name]["value"], f"{name}_low": mean[name]["low"], f"{name}_high": mean[name]["high"]}
    return cells


def _flatten_pair(pair: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name in ("roc_auc", "pr_auc") if pair else ():
        found = pair[name]
        cells |= {f"{name}_{part}": found[part] for part in ("other", "difference", "p")}
        cells |= {f"{name}_difference_{bound}": found[bound] for bound in ("low", "high")}
    return cells


def _print_tables(findings: Findings, stream: TextIO) -> None:
    evaluation = findings.evaluation
    split = f", split {evaluation.split}" if evaluation.split else ""
    n_examples = f"{evaluation.n_examples} examples{tell_of_seen(evaluation)}"
    title = f"{evaluation.system} on {evaluation.dataset}{split}: {n_examples}"
    captions = [tell_of_intervals(evaluation)]
    header = ["tag", "category", "+", "-", "ROC-AUC", "95 %", "PR-AUC", "95 %"]
    print_table(stream, title, header, _list_means(evaluation), _list_tags(evaluation), captions=captions)
    if findings.comparison is not None:
        compared = findings.comparison
        title = f"{compared.system} less {compared.other}: {compared.n_examples} examples, {compared.n_tags} tags"
        header = ["tag", "ROC-AUC", "other", "difference", "95 %", "p", "PR-AUC", "other", "difference", "95 %", "p"]
        means, tags = {"macro": compared.macro, "micro": compared.micro}, compared.per_tag
        parts = [
            [[name, *_list_difference(pair.roc_auc), *_list_difference(pair.pr_auc)] for name, pair in part.items()]
            for part in (means, tags)
        ]
        print_table(stream, title, header, *parts)
    if findings.thresholds is not None:
        rows = [
            [
                tag,
                "never" if found.threshold == NEVER else f"{found.threshold:.4f}",
                round_figure(found.precision),
                round_figure(found.recall),
                f"{found.n_found} of {found.n_positive}",
            ]
            for tag, found in findings.thresholds.items()
        ]
        print_table(stream, "Thresholds", ["tag", "threshold", "precision", "recall", "found"], rows)
    if findings.disagreements is not None:
        rows = [
            [
                make_readable(found.id),
                found.tag,
                "carries it" if found.is_labelled else "does not carry it",
                round_figure(found.score),
                f"{found.share:.1%}",
            ]
            for found in findings.disagreements
        ]
        header = ["example", "tag", "label", "score", "on the wrong side of"]
        print_table(stream, "Labels and scores that disagree most", header, rows)


def _list_means(evaluation: Evaluation) -> list[list[str]]:
    def list_mean(name: str, category: str, mean: MeanEvaluation) -> list[str]:
        counts = f"{mean.n_tags} tags"
        return [name, category, counts, "", *list_estimate(mean.roc_auc), *list_estimate(mean.pr_auc)]

    return [
        list_mean("macro", "", evaluation.macro),
        list_mean("micro", "", evaluation.micro),
        *(list_mean("macro", category.value, mean) for category, mean in evaluation.by_category.items()),
    ]


def _list_tags(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            tag.tag,
            tag.category.value,
            str(tag.n_positive),
            str(tag.n_negative),
            *list_estimate(tag.roc_auc),
            *list_estimate(tag.pr_auc),
        ]
        for tag in evaluation.per_tag
    ]


def _list_difference(difference: Difference) -> list[str]:
    return [
        round_figure(difference.value),
        round_figure(difference.other),
        "-" if math.isnan(difference.difference) else f"{difference.difference:+.4f}",
        round_interval(difference.low, difference.high, signed=True),
        round_figure(difference.p),
    ]
