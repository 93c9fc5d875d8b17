"""What `eval --teacher` does: both systems listen, and how closely one follows the other is printed."""

import csv
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tagcli.cli.evaluation_tables import list_estimate, print_table, tell_of_intervals, tell_of_seen
from tagcli.cli.left_out import tell_left_out_of_agreement
from tagcli.cli.listening import Listening, find_system, find_tags, part_stored
from tagcli.cli.options import EvaluationFormat
from tagcli.cli.output import open_output
from tagcli.datasets import Manifest
from tagcli.evaluation import Agreement, Estimate, Grouping, agree, align, clear_labels, match_teacher, write_scores
from tagcli.evaluation.document import describe_agreement

logger = logging.getLogger(__name__)

_FIGURES = ("pearson", "spearman", "roc_auc")
_OVERLAP = "top5_overlap"


def show_agreement(
    manifest: Manifest,
    *,
    split: str | None,
    name: str | None,
    scores: Path | None,
    teacher: str,
    listening: Listening,
    by: Grouping | None,
    n_replicates: int,
    seed: int,
    format_: EvaluationFormat,
    output: Path | None,
    save_scores: Path | None,
) -> int:
    """Compare a student with its teacher, and print what was found.

    Parameters
    ----------
    manifest, split
        The examples, and the name of the part that they are.
    name, scores
        The student, as for `find_system`.
    teacher
        Name of weights, or of a file of stored scores.
    listening
        How both listen.
    by, n_replicates, seed
        As for `tagcli.evaluation.agree`.
    format_, output, save_scores
        How results are printed, where to, and where the student's scores are stored.

    Returns
    -------
    int
        Number of examples that could not be heard just now.
    """
    teacher_name, teacher_scores = part_stored(teacher)
    match = match_teacher(
        name or str(scores), find_tags(name, scores), teacher, find_tags(teacher_name, teacher_scores)
    )
    unlabelled = clear_labels(manifest, match.dataset_tags)
    taught = find_system(teacher_name, teacher_scores, unlabelled, listening)
    heard = align(unlabelled, taught.scores).manifest  # what the teacher could not hear, the student need not try
    system = find_system(name, scores, heard, listening)
    if save_scores is not None:
        with open_output(save_scores, binary=True) as file:
            write_scores(system.scores, file)
    agreement = agree(
        manifest,
        student=system.scores,
        teacher=taught.scores,
        split=split,
        trained_on=system.trained_on,
        by=by,
        n_replicates=n_replicates,
        seed=seed,
    )
    tell_left_out_of_agreement(agreement)
    if not agreement.tested:
        logger.warning(
            "No tag is tested: none is among the best of %s in enough of the %d examples; take more of them.",
            agreement.teacher,
            agreement.n_examples,
        )
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            document = {**describe_agreement(agreement), "model": system.model, "teacher_model": taught.model}
            json.dump(document, stream, ensure_ascii=False, indent=2)
            stream.write("\n")
        elif format_ is EvaluationFormat.CSV:
            _write_csv(describe_agreement(agreement), stream)
        else:
            _print_table(agreement, stream)
    return taught.n_failed + system.n_failed


def _write_csv(document: Mapping[str, Any], stream: TextIO) -> None:
    names = (*_FIGURES, _OVERLAP)
    columns = ["split", "is_seen", "scope", "tag", "n_top", "is_tested", "n_tags"]
    columns += [f"{name}{bound}" for name in names for bound in ("", "_low", "_high")]
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    where = {"split": document["split"], "is_seen": document["is_seen"]}
    means = {**document["macro"], _OVERLAP: document[_OVERLAP]}
    cells = {"n_tags": means["n_tags"]}
    for name in names:
        cells |= {name: means[name]["value"], f"{name}_low": means[name]["low"], f"{name}_high": means[name]["high"]}
    writer.writerow({**where, "scope": "macro", **cells})
    for tag in document["per_tag"]:
        writer.writerow({**where, "scope": "tag", **tag})


def _print_table(agreement: Agreement, stream: TextIO) -> None:
    split = f", split {agreement.split}" if agreement.split else ""
    counts = f"{agreement.n_examples} examples, {agreement.n_artists} artists{tell_of_seen(agreement)}"
    title = f"{agreement.student} after {agreement.teacher} on {agreement.dataset}{split}: {counts}"
    header = ["tag", "in top 3", "Pearson", "95 %", "Spearman", "95 %", "ROC-AUC", "95 %"]
    means = _list_figures(agreement.pearson, agreement.spearman, agreement.roc_auc)
    macro = ["macro", f"{len(agreement.tested)} tags", *means]
    tags = [
        [tag.tag, str(tag.n_top), *_list_figures(tag.pearson, tag.spearman, tag.roc_auc)] for tag in agreement.tested
    ]
    overlap, interval = list_estimate(agreement.overlap)
    captions = [f"top-5 overlap: {overlap} of 5" + (f" ({interval})" if interval else "")]
    if agreement.untested:
        names = ", ".join(f"{tag.tag} ({tag.n_top})" for tag in agreement.untested)
        captions.append(f"untested, in the teacher's top 3 too seldom: {names}")
    print_table(stream, title, header, [macro], tags, captions=[*captions, tell_of_intervals(agreement)])


def _list_figures(*estimates: Estimate) -> list[str]:
    return [cell for estimate in estimates for cell in list_estimate(estimate)]
