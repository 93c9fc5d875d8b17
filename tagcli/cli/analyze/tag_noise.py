"""The command `analyze tag-noise`: whether tags are known better that people give wherever they belong."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tagcli.cli.analyze.answers import (
    BootstrapOption,
    FigureOption,
    FormatOption,
    OutputOption,
    SeedOption,
    check_answers,
    save_picture,
    write_csv,
    write_json,
)
from tagcli.cli.options import EvaluationFormat

if TYPE_CHECKING:
    from tagcli.analysis.tag_noise import TagNoise

logger = logging.getLogger(__name__)


def tag_noise(
    evaluation: Annotated[
        Path, typer.Argument(metavar="EVALUATION.json", help="What `eval --format json` has found.", readable=False)
    ],
    recalls: Annotated[
        Path,
        typer.Option(
            "--recalls",
            metavar="FILE",
            help="A report of `analyze groundtruth`, or a table with columns tag and recall.",
        ),
    ],
    bootstrap: BootstrapOption = 1000,
    seed: SeedOption = 0,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
    figure: FigureOption = None,
) -> None:
    """Compare the ROC-AUC of tags with the recall of their labels.

    Rank correlation over the tags whose recall is known, with a 95 % interval of a bootstrap over these tags, and means
    over kinds of tags, eras among them (Choi et al. 2017, section III-B).

    Example: tagcli analyze tag-noise evaluation.json --recalls report.json --figure noise.png
    """
    from tagcli.analysis.tag_noise import describe_noise, read_recalls, relate_noise
    from tagcli.cli.output import open_output
    from tagcli.evaluation import read_tag_evaluations

    check_answers(output=output, figure=figure, inputs=(evaluation, recalls))
    found = relate_noise(read_tag_evaluations(evaluation), read_recalls(recalls), n_replicates=bootstrap, seed=seed)
    if found.unmatched:
        logger.warning("%s has no tag %s.", evaluation, ", ".join(found.unmatched))
    if figure is not None:
        from tagcli.figures.tag_noise import draw_noise

        save_picture(figure, draw_noise, found)
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            write_json(describe_noise(found), stream)
        elif format_ is EvaluationFormat.CSV:
            rows = describe_noise(found)["per_tag"]
            write_csv([{**row, "roc_auc": row["roc_auc"]["value"]} for row in rows], stream)
        else:
            _print_tables(found, evaluation, stream)


def _print_tables(found: "TagNoise", evaluation: Path, stream: TextIO) -> None:
    from tagcli.cli.evaluation_tables import list_estimate, print_table, round_figure, round_interval

    rows = [
        [tag.tag, tag.category.value, str(tag.n_positive), *list_estimate(tag.roc_auc), round_figure(tag.recall or 0.0)]
        for tag in sorted(found.known, key=lambda tag: -(tag.recall or 0.0))
    ]
    means = [
        [
            mean.category.value,
            str(mean.n_tags),
            round_figure(mean.roc_auc),
            str(mean.n_recalls),
            "-" if mean.recall is None else round_figure(mean.recall),
        ]
        for mean in found.categories
    ]
    interval = round_interval(found.correlation.low, found.correlation.high)
    captions = [
        f"rank correlation: {round_figure(found.correlation.value)}"
        + (f" ({interval}; {found.n_replicates} replicates over tags, seed {found.seed})" if interval else "")
    ]
    header = ["tag", "category", "+", "ROC-AUC", "95 %", "recall"]
    print_table(stream, f"Tags of {evaluation} whose recall is known", header, rows, captions=captions)
    print_table(stream, "Kinds of tags", ["category", "tags", "ROC-AUC", "with recall", "recall"], means)
