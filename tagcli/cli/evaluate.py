"""The command `eval`: how well a model, or any other system, knows a data set."""

import logging
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.options import DeviceOption, EvaluationFormat, JobsOption
from tagcli.errors import ExitCode, OutputError

if TYPE_CHECKING:
    from tagcli.audio.clips import ClipChoice
    from tagcli.calibration import TagThreshold
    from tagcli.datasets import Manifest
    from tagcli.evaluation import Aligned

logger = logging.getLogger(__name__)

_PICTURES = (".png", ".svg", ".pdf")
_TEST_SPLIT = "test"
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
        typer.Option("--calibrate", metavar="precision=P", help="Find the threshold of each tag for a precision."),
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

    Example: tagcli eval won2020-msd-fcn mtt.tsv --split test --audio ~/mtt
    """
    from tagcli.cli.evaluation_output import Findings, print_findings
    from tagcli.cli.listening import Listening, find_system
    from tagcli.cli.output import open_output
    from tagcli.datasets import open_dataset
    from tagcli.evaluation import SCORES_SUFFIX, Grouping, align, find_disagreements, write_scores
    from tagcli.evaluation import compare as compare_systems
    from tagcli.evaluation import evaluate as evaluate_system

    precision = None if calibrate is None else _parse_precision(calibrate)
    if save is not None and (calibrate is None or scores is not None):
        msg = "it takes the thresholds of --calibrate and the weights of a model"
        raise typer.BadParameter(msg, param_hint="--save")
    if figure is not None and figure.suffix.lower() not in _PICTURES:
        msg = f"{figure} ends in none of {', '.join(_PICTURES)}"
        raise typer.BadParameter(msg, param_hint="--figure")
    listening = Listening(
        choice=_parse_clips(clips), device=device, batch_size=batch_size, n_workers=jobs, is_quiet=bool(ctx.obj)
    )
    if dataset is None:
        if scores is None:
            msg = "it is missing; only with --scores one name will do"
            raise typer.BadParameter(msg, param_hint="DATASET")
        name, dataset = _STORED, Path(name)
    if figure is not None:
        from tagcli.figures.evaluation import check_drawable, draw_evaluation

        check_drawable()
    _check_outputs((output, figure, save_scores, save), (dataset, *filter(None, [scores])))
    data = open_dataset(dataset, root=audio, from_fields="genre" if library else None)
    manifest, chosen = _choose_split(data, split)
    system = find_system(None if name == _STORED else name, scores, manifest, listening)
    if save_scores is not None:
        with open_output(save_scores, binary=True) as file:
            write_scores(system.scores, file)
    aligned = align(manifest, system.scores)
    _tell_left_out(aligned)
    grouping = None if by is None else Grouping(by.value)
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
        is_stored = Path(compare).suffix == SCORES_SUFFIX
        other = find_system(None if is_stored else compare, Path(compare) if is_stored else None, manifest, listening)
        other_aligned = align(manifest, other.scores)
        _tell_left_out(other_aligned)
        comparison = compare_systems(aligned, other_aligned, by=grouping, n_replicates=bootstrap, seed=seed)
        n_failed += other.n_failed
    thresholds = None if precision is None else _calibrate(aligned, precision)
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


def _parse_clips(text: str) -> "ClipChoice":
    """Read the value of --clips."""
    from tagcli.audio.clips import ClipChoice

    try:
        return ClipChoice.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--clips") from error


def _parse_precision(text: str) -> float:
    """Read the value of --calibrate."""
    measure, _, number = text.partition("=")
    try:
        precision = float(number)
    except ValueError:
        precision = 0.0
    if measure != "precision" or not 0 < precision <= 1:
        msg = f"{text!r} is no precision such as precision=0.8, above 0 and at most 1"
        raise typer.BadParameter(msg, param_hint="--calibrate")
    return precision


def _check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Refuse files for results that are one another, or what is read."""
    given = [path.resolve() for path in outputs if path is not None and str(path) != "-"]
    for path in given:
        if given.count(path) > 1 or path in {source.resolve() for source in inputs}:
            msg = f"{path} is wanted for two things, and would be lost for one; give each its own file."
            raise OutputError(msg, path=path)


def _choose_split(manifest: "Manifest", wanted: str | None) -> "tuple[Manifest, str | None]":
    """Take the part that is to be judged by; the test split unless another one is wanted."""
    chosen = wanted or (_TEST_SPLIT if _TEST_SPLIT in manifest.splits else None)
    if chosen is not None:
        return manifest.select(chosen), chosen
    if any(manifest.splits):
        logger.warning("%s has no split %r; all of its examples are taken.", manifest.name, _TEST_SPLIT)
    return manifest, None


def _tell_left_out(aligned: "Aligned") -> None:
    """Tell what is not judged, and why."""
    name, dataset, match = aligned.system, aligned.manifest.name, aligned.match
    for tags, owner, other in ((match.only_system, name, dataset), (match.only_dataset, dataset, name)):
        if tags:
            logger.warning(
                "Left out are %d tags that only %s has, not %s: %s.", len(tags), owner, other, ", ".join(tags)
            )
    for n_examples, reason in (
        (aligned.n_unlabelled, "know none of the tags"),
        (aligned.n_missing, f"have no scores of {name}"),
        (aligned.n_unheard, "could not be heard"),
    ):
        if n_examples:
            logger.warning("Left out are %d examples that %s.", n_examples, reason)


def _calibrate(aligned: "Aligned", precision: float) -> "dict[str, TagThreshold]":
    """Find the threshold of each tag."""
    import numpy as np

    from tagcli.calibration import find_threshold

    manifest, scores = aligned.manifest, aligned.scores
    is_known = manifest.known & ~np.isnan(scores)
    return {
        tag: find_threshold(manifest.labels[rows, column], scores[rows, column], precision=precision)
        for column, tag in enumerate(manifest.tags)
        for rows in [is_known[:, column]]
    }


def _save_thresholds(checkpoint: Path, target: Path, aligned: "Aligned", thresholds: "dict[str, TagThreshold]") -> None:
    """Copy the checkpoint with the thresholds, under its own names of the tags."""
    from tagcli.calibration import save_thresholds

    spelled = dict(zip(aligned.match.dataset_tags, aligned.match.system_tags, strict=True))
    save_thresholds(checkpoint, target, {spelled[tag]: found.threshold for tag, found in thresholds.items()})
