"""The command `eval`: how well a model, or any other system, knows a data set."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.evaluation_choices import (
    check_outputs,
    check_picture,
    choose_split,
    parse_calibration,
    parse_clips,
    refuse_beside_teacher,
)
from tagcli.cli.options import DeviceOption, EvaluationFormat, JobsOption
from tagcli.errors import ExitCode

if TYPE_CHECKING:
    from tagcli.calibration import Calibration, TagThreshold
    from tagcli.evaluation import Aligned

_LIBRARY_DISAGREEMENTS = 20
_STORED = "-"  # in the place of a model's name


class DrawnGroups(StrEnum):
    """What the bootstrap draws."""

    ARTIST = "artist"
    TRACK = "track"


def evaluate(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Weights, as for `predict --model`. With --scores a name for them, or nothing."
        ),
    ],
    dataset: Annotated[
        Path | None,
        typer.Argument(metavar="DATASET", help="A data set; with --library a folder of music.", show_default=False),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Part to judge by.", show_default="test, or all without one"),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE.npz", help="Judge stored scores: arrays scores, tags and ids."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="OTHER", help="Other weights or stored scores (.npz), on the same draws."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="TEACHER",
            help="Tell how closely NAME follows other weights or stored scores (.npz), whatever the labels.",
        ),
    ] = None,
    library: Annotated[
        bool, typer.Option("--library", help="Judge by the genre fields of your own music, and find what disagrees.")
    ] = False,
    top_disagreements: Annotated[
        int | None,
        typer.Option(
            "--top-disagreements",
            metavar="N",
            min=0,
            help="List the examples whose labels and scores disagree most.",
            show_default="20 with --library, else 0",
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option("--calibrate", metavar="precision=P|as-often", help="Find the threshold of each tag."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE.safetensors", help="Copy the checkpoint, with the thresholds found."),
    ] = None,
    format_: Annotated[
        EvaluationFormat, typer.Option("--format", help="How results are printed.")
    ] = EvaluationFormat.TABLE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Print results into a file.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw the tags as png, svg or pdf.")
    ] = None,
    save_scores: Annotated[
        Path | None, typer.Option("--save-scores", metavar="FILE.npz", help="Store the scores, for --scores.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option("--audio", metavar="DIR", help="Folder that the data set's files are in.")
    ] = None,
    clips: Annotated[
        str, typer.Option("--clips", metavar="all|middle|N", help="Clips of an excerpt to listen to.")
    ] = "all",
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Clips scored at a time on a GPU; on a CPU it is one.")
    ] = 16,
    jobs: JobsOption = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", metavar="N", min=0, help="Replicates for the intervals; 0 for none.")
    ] = 1000,
    by: Annotated[
        DrawnGroups | None,
        typer.Option("--by", help="What is drawn for the intervals.", show_default="artist where known, else track"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")] = 0,
) -> None:
    """Measure how well weights, or stored scores, know a data set.

    ROC-AUC and PR-AUC of each tag, their means over tags (macro), over all decisions (micro) and over kinds of tags,
    with 95 % intervals of a bootstrap over artists or tracks. Tags are matched by their names; what is not known in the
    data set is not judged. Files that cannot be heard are left out, and the exit code is 3.

    With --teacher, labels are neither needed nor looked at: DATASET may be any folder of music. Correlations, ROC-AUC
    against the teacher's best 3 tags, and common best tags tell how closely the weights follow it.

    Example: tagcli eval won2020-msd-fcn mtt.tsv --split test --audio ~/mtt
    """
    from tagcli.cli.evaluation_output import Findings, print_findings
    from tagcli.cli.left_out import tell_left_out
    from tagcli.cli.listening import Listening, find_system, part_stored
    from tagcli.cli.output import open_output
    from tagcli.datasets import open_dataset
    from tagcli.evaluation import Grouping, align, find_disagreements, write_scores
    from tagcli.evaluation import compare as compare_systems
    from tagcli.evaluation import evaluate as evaluate_system

    if teacher is not None:
        refuse_beside_teacher(
            {
                "--compare": compare,
                "--library": library,
                "--top-disagreements": top_disagreements,
                "--calibrate": calibrate,
                "--save": save,
                "--figure": figure,
            }
        )
    calibration = None if calibrate is None else parse_calibration(calibrate)
    if save is not None and (calibrate is None or scores is not None):
        msg = "it takes the thresholds of --calibrate and the weights of a model"
        raise typer.BadParameter(msg, param_hint="--save")
    if figure is not None:
        check_picture(figure)
    listening = Listening(
        choice=parse_clips(clips), device=device, batch_size=batch_size, n_workers=jobs, is_quiet=bool(ctx.obj)
    )
    if dataset is None:
        if scores is None:
            msg = "it is missing; only with --scores one name will do"
            raise typer.BadParameter(msg, param_hint="DATASET")
        name, dataset = _STORED, Path(name)
    if name == _STORED and scores is None:
        msg = f"{_STORED} stands for the name of --scores, which is missing"
        raise typer.BadParameter(msg, param_hint="NAME")
    if figure is not None:
        from tagcli.figures.evaluation import draw_evaluation
        from tagcli.figures.saving import check_drawable

        check_drawable()
    others = (part_stored(other)[1] for other in (compare, teacher) if other is not None)
    check_outputs((output, figure, save_scores, save), (dataset, scores, *others))
    data = open_dataset(dataset, root=audio, from_fields="genre" if library else None, wants_labels=teacher is None)
    manifest, chosen = choose_split(data, split)
    system_name = None if name == _STORED else name
    grouping = None if by is None else Grouping(by.value)
    if teacher is not None:
        from tagcli.cli.agreement import show_agreement

        n_failed = show_agreement(
            manifest,
            split=chosen,
            name=system_name,
            scores=scores,
            teacher=teacher,
            listening=listening,
            by=grouping,
            n_replicates=bootstrap,
            seed=seed,
            format_=format_,
            output=output,
            save_scores=save_scores,
        )
        raise typer.Exit(ExitCode.SOME_FAILED if n_failed else ExitCode.DONE)
    system = find_system(system_name, scores, manifest, listening)
    if save_scores is not None:
        with open_output(save_scores, binary=True) as file:
            write_scores(system.scores, file)
    aligned = align(manifest, system.scores)
    tell_left_out(aligned)
    evaluation = evaluate_system(
        aligned,
        split=chosen,
        categories=system.categories,
        trained_on=system.trained_on,
        by=grouping,
        n_replicates=bootstrap,
        seed=seed,
    )
    comparison, n_failed = None, system.n_failed
    if compare is not None:
        other = find_system(*part_stored(compare), manifest, listening)
        other_aligned = align(manifest, other.scores)
        tell_left_out(other_aligned)
        comparison = compare_systems(aligned, other_aligned, by=grouping, n_replicates=bootstrap, seed=seed)
        n_failed += other.n_failed
    thresholds = None if calibration is None else _calibrate(aligned, calibration)
    if save is not None and thresholds is not None and system.checkpoint is not None:
        _save_thresholds(system.checkpoint, save, aligned, thresholds)
    n_most = top_disagreements if top_disagreements is not None else _LIBRARY_DISAGREEMENTS if library else 0
    findings = Findings(
        model=system.model,
        evaluation=evaluation,
        comparison=comparison,
        thresholds=thresholds,
        disagreements=find_disagreements(aligned, n_most=n_most) if n_most else None,
    )
    if figure is not None:
        with open_output(figure, binary=True) as file:
            draw_evaluation(evaluation, file, format_=figure.suffix.lower().removeprefix("."))
    with open_output(output) as stream:
        print_findings(findings, format_, stream)
    if n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _calibrate(aligned: "Aligned", calibration: "Calibration") -> "dict[str, TagThreshold]":
    """Find the threshold of each tag."""
    import numpy as np

    manifest, scores = aligned.manifest, aligned.scores
    is_known = manifest.known & ~np.isnan(scores)
    return {
        tag: calibration(manifest.labels[rows, column], scores[rows, column])
        for column, tag in enumerate(manifest.tags)
        for rows in [is_known[:, column]]
    }


def _save_thresholds(checkpoint: Path, target: Path, aligned: "Aligned", thresholds: "dict[str, TagThreshold]") -> None:
    """Copy the checkpoint with the thresholds, under its own names of the tags."""
    from tagcli.calibration import save_thresholds

    spelled = dict(zip(aligned.match.dataset_tags, aligned.match.system_tags, strict=True))
    save_thresholds(checkpoint, target, {spelled[tag]: found.threshold for tag, found in thresholds.items()})
