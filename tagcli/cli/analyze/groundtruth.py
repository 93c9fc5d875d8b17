"""The commands `analyze groundtruth sample` and `report`: have somebody listen, and see what the labels are worth."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tagcli.cli.analyze.answers import FormatOption, OutputOption, SeedOption, write_csv, write_json
from tagcli.cli.options import EvaluationFormat
from tagcli.errors import OutputError

if TYPE_CHECKING:
    from tagcli.analysis.ground_truth import GroundTruth
    from tagcli.evaluation import Estimate

_REPORT = "report"
_ANY_SPLIT = "any"


class _ReportUnlessNamed(TyperGroup):
    """The commands; what is none of them is a sheet that is reported on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in front of a sheet."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_REPORT, *args]
        return super().parse_args(ctx, args)


groundtruth_app = typer.Typer(
    cls=_ReportUnlessNamed,
    no_args_is_help=True,
    help="Have somebody listen, and see what the labels are worth; FILE.csv alone means `report FILE.csv`.",
)


@groundtruth_app.command("sample")
def sample(
    ctx: typer.Context,
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A manifest, or what `tagcli dataset build` reads.",
            show_default=False,
            readable=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.csv", help="The sheet to fill in.")],
    tags: Annotated[
        list[str], typer.Option("--tag", metavar="TAG", help="A tag to ask for; repeatable.", show_default=False)
    ],
    n_balanced: Annotated[
        int, typer.Option("--balanced", metavar="N", min=0, help="Excerpts for each tag; half of them carry it.")
    ] = 100,
    n_random: Annotated[
        int, typer.Option("--random", metavar="N", min=0, help="Excerpts at random, each asked for all tags.")
    ] = 400,
    balanced_split: Annotated[
        str, typer.Option("--balanced-split", metavar="NAME", help="Where the former are from; any for everywhere.")
    ] = "train",
    random_split: Annotated[
        str, typer.Option("--random-split", metavar="NAME", help="Where the latter are from; any for everywhere.")
    ] = "test",
    audio: Annotated[
        Path | None, typer.Option("--audio", metavar="DIR", help="Folder that the data set's files are in.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Draw excerpts to listen to, as a sheet with an empty column `annotation` for 1 and 0.

    The balanced ones (Subset100 of Choi et al. 2017) tell how often labels are wrong, the random ones (Subset400) how
    often a tag is deserved at all. Hide the column `label` while you listen. The same seed draws the same excerpts.

    Example: tagcli analyze groundtruth sample msd.tsv --tag guitar --tag instrumental -o sheet.csv
    """
    from tagcli.analysis.annotation_sheet import Draw, draw_sheet
    from tagcli.analysis.sheet_file import write_sheet
    from tagcli.analysis.tag_pairs import find_tags
    from tagcli.cli.evaluation_choices import check_outputs
    from tagcli.cli.output import open_output
    from tagcli.datasets import open_dataset

    if n_balanced % 2:
        msg = f"{n_balanced} is odd, and half of the excerpts carry the tag"
        raise typer.BadParameter(msg, param_hint="--balanced")
    if not n_balanced and not n_random:
        msg = "with --random 0 there is nothing to draw"
        raise typer.BadParameter(msg, param_hint="--balanced")
    check_outputs((output,), (dataset,))
    if output.is_file():
        msg = f"{output} is there, and answers in it would be lost; draw into another file, or move it away."
        raise OutputError(msg, path=output)
    manifest = open_dataset(dataset, root=audio)
    has_splits = any(manifest.splits)
    draw = Draw(
        tags=tuple(manifest.tags[place] for place in find_tags(tags, manifest.tags, source=manifest.name)),
        n_balanced=n_balanced,
        balanced_split=balanced_split if has_splits and balanced_split != _ANY_SPLIT else None,
        n_random=n_random,
        random_split=random_split if has_splits and random_split != _ANY_SPLIT else None,
        seed=seed,
    )
    sheet = draw_sheet(manifest, draw)
    with open_output(output, binary=True) as file:
        write_sheet(sheet, file)
    if not ctx.obj:
        n_excerpts = len({line.id for line in sheet.lines})
        msg = f"{output} asks {len(sheet.lines)} questions about {n_excerpts} excerpts; write 1 or 0 into `annotation`."
        typer.echo(msg, err=True)


@groundtruth_app.command(_REPORT)
def report(
    sheet: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv", help="The sheet, filled in as far as it is.", show_default=False, readable=False
        ),
    ],
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", metavar="N", min=0, help="Draws for the intervals; 0 for none.")
    ] = 10_000,
    seed: SeedOption = 0,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
) -> None:
    """Tell how often labels are wrong, and how many examples deserve them.

    Error rates, precision, recall where half of the examples carry the label (tagability), the estimate of how many
    deserve it, and their share of the random excerpts (Choi et al. 2017, Table I and equation 2), with 95 % intervals.

    Example: tagcli analyze groundtruth report sheet.csv --format json -o report.json
    """
    from tagcli.analysis.ground_truth import describe_ground_truth, judge_ground_truth
    from tagcli.analysis.sheet_file import read_sheet
    from tagcli.cli.evaluation_choices import check_outputs
    from tagcli.cli.output import open_output

    check_outputs((output,), (sheet,))
    truth = judge_ground_truth(read_sheet(sheet), n_replicates=bootstrap, seed=seed)
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            write_json(describe_ground_truth(truth), stream)
        elif format_ is EvaluationFormat.CSV:
            write_csv([_flatten(tag) for tag in describe_ground_truth(truth)["per_tag"]], stream)
        else:
            from tagcli.cli.evaluation_tables import print_table

            header = ["tag", "wrong +", "95 %", "wrong -", "95 %", "precision", "95 %", "recall", "95 %"]
            header += ["labelled", "deserving (eq. 2)", "95 %", "of the random ones", "95 %"]
            captions = [
                "wrong + and -: share of labels that are wrong where the tag is given, and where it is not",
                f"mean error: {_percent(truth.mean_error_in_positives)} of positives,"
                f" {_percent(truth.mean_error_in_negatives)} of negatives",
                f"{truth.n_unanswered} questions are not answered"
                if truth.n_unanswered
                else "all questions are answered",
                f"95 % intervals: Wilson's; of recall and estimate {truth.n_replicates} draws, seed {truth.seed}",
            ]
            title = f"What the labels are worth by {sheet}"
            print_table(stream, title, header, _list_tags(truth), captions=captions)


def _flatten(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a tag as cells, an estimate as three."""
    cells: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            cells |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        else:
            cells[name] = value
    return cells


def _list_tags(truth: "GroundTruth") -> list[list[str]]:
    return [
        [
            tag.tag,
            *_list_share(tag.error_in_positives),
            *_list_share(tag.error_in_negatives),
            *_list_share(tag.precision),
            *_list_share(tag.recall),
            f"{tag.n_positive} ({_percent(_divide(tag.n_positive, tag.n_known))})",
            *_list_estimated(tag.n_estimated, tag.n_known),
            f"{tag.n_reannotated} ({_percent(tag.share_reannotated.value)})",
            _list_share(tag.share_reannotated)[1],
        ]
        for tag in truth.per_tag
    ]


def _list_share(estimate: "Estimate") -> list[str]:
    bounds = "" if math.isnan(estimate.low) else f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
    return [_percent(estimate.value), bounds]


def _list_estimated(estimate: "Estimate", n_known: int) -> list[str]:
    if math.isnan(estimate.value):
        return ["-", ""]
    bounds = "" if math.isnan(estimate.low) else f"{estimate.low:.0f} to {estimate.high:.0f}"
    return [f"{estimate.value:.0f} ({_percent(_divide(estimate.value, n_known))})", bounds]


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
