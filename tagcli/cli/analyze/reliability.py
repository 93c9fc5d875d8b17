"""The command `analyze reliability`: whether systems can be compared by labels that are often wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from tagcli.analysis.reliability import Reliability
    from tagcli.evaluation import Estimate

_AREAS = {
    "by_truth": "few tags, ground truth",
    "by_annotation": "re-annotated",
    "few_tags": "few tags, all examples",
    "all_tags": "all tags",
}


def reliability(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="The ground truth: a manifest, or what `tagcli dataset build` reads.",
            readable=False,
        ),
    ],
    sheet: Annotated[
        Path,
        typer.Argument(
            metavar="SHEET.csv", help="The re-annotation: a filled sheet of `groundtruth sample`.", readable=False
        ),
    ],
    scores: Annotated[
        list[Path],
        typer.Argument(metavar="SCORES.npz", help="Scores of three systems or more: `eval --save-scores`."),
    ],
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Part to judge by.", show_default="test, or all without one"),
    ] = None,
    bootstrap: BootstrapOption = 1000,
    seed: SeedOption = 0,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
    figure: FigureOption = None,
) -> None:
    """Tell whether systems would be ordered alike by better labels, and by more tags.

    rho1 correlates, over systems, their ROC-AUC by the ground truth with that by the re-annotation; rho2 that over the
    re-annotated tags with that over all tags (Choi et al. 2017, Fig. 2). Intervals are of a bootstrap over excerpts.

    Example: tagcli analyze reliability msd.tsv sheet.csv a.npz b.npz c.npz --figure reliability.png
    """
    from tagcli.analysis.reliability import describe_reliability, measure_reliability
    from tagcli.analysis.sheet_file import read_sheet
    from tagcli.cli.evaluation_choices import choose_split
    from tagcli.cli.output import open_output
    from tagcli.datasets import open_dataset
    from tagcli.evaluation import read_scores

    check_answers(output=output, figure=figure, inputs=(dataset, sheet, *scores))
    if len({path.resolve() for path in scores}) < len(scores):
        msg = "a file is given twice, and would count as two systems"
        raise typer.BadParameter(msg, param_hint="SCORES.npz")
    annotated = read_sheet(sheet)
    systems = [read_scores(path, name=name) for path, name in zip(scores, _name(scores), strict=True)]
    manifest, _ = choose_split(open_dataset(dataset), split)
    found = measure_reliability(manifest, annotated, systems, n_replicates=bootstrap, seed=seed)
    if figure is not None:
        from tagcli.figures.reliability import draw_reliability

        save_picture(figure, draw_reliability, found)
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            write_json(describe_reliability(found), stream)
        elif format_ is EvaluationFormat.CSV:
            write_csv(_list_rows(describe_reliability(found)), stream)
        else:
            from tagcli.cli.evaluation_tables import list_estimate, print_table

            header = ["system", *(cell for name in _AREAS.values() for cell in (name, "95 %"))]
            rows = [
                [areas.system, *(cell for name in _AREAS for cell in list_estimate(getattr(areas, name)))]
                for areas in found.systems
            ]
            print_table(stream, _tell_title(found), header, rows, captions=_list_captions(found))


def _name(paths: list[Path]) -> list[str]:
    """Call systems by the names of their files, or by their paths where these are the same."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _list_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a row for each correlation, and one for each system and area."""
    whole = [("", name, document[name]) for name in ("rho1", "rho2")]
    areas = [(system["system"], name, system[name]) for system in document["systems"] for name in _AREAS]
    return [{"system": system, "figure": name, **estimate} for system, name, estimate in (*whole, *areas)]


def _tell_title(found: "Reliability") -> str:
    few = ", ".join(found.tags)
    return f"{len(found.systems)} systems on {found.dataset}: mean ROC-AUC over {few}, and over all {found.n_tags} tags"


def _list_captions(found: "Reliability") -> list[str]:
    from tagcli.cli.evaluation_tables import round_figure, round_interval

    def tell(name: str, rho: "Estimate", what: str) -> str:
        interval = round_interval(rho.low, rho.high)
        return f"{name} = {round_figure(rho.value)}{f' ({interval})' if interval else ''}: {what}"

    return [
        tell("rho1", found.rho1, f"ground truth and re-annotation of {found.n_annotated} excerpts"),
        tell("rho2", found.rho2, f"few and all tags on {found.n_examples} examples"),
        f"95 % intervals: {found.n_replicates} replicates over excerpts, seed {found.seed}"
        if found.n_replicates
        else "no intervals",
    ]
