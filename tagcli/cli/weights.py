"""The command `weights`: which there are, and how they get here."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.calibrate import calibrate

if TYPE_CHECKING:
    from rich.table import Table

    from tagcli.weights.catalogue import WeightsDescription, WeightsRow

PIPE_WIDTH = 100_000
"""Columns of a table that is not for a terminal: enough that nothing in it is ever wrapped or cut."""

weights_app = typer.Typer(no_args_is_help=True, help="List, fetch and import the weights that models run with.")


class WeightsFormat(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[WeightsFormat, typer.Option("--format", help="A table to read, or JSON to process.")]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A name, a .safetensors file, or a training run's folder.")
]


@weights_app.command("list")
def list_command(format_: FormatOption = WeightsFormat.TABLE) -> None:
    """List the weights that can be used or pulled.

    Example: tagcli weights list --format json
    """
    from tagcli.weights.catalogue import list_weights

    rows = list_weights()
    if format_ is WeightsFormat.JSON:
        _print_json([_fields(row) for row in rows])
    else:
        _print_rows(rows)


@weights_app.command("vocabulary")
def vocabulary(name: NameArgument) -> None:
    """Print the tags of weights as a TOML file, to be edited and given as --vocabulary.

    Example: tagcli weights vocabulary won2020-msd-fcn
    """
    from tagcli.tag_rules import format_vocabulary
    from tagcli.weights.catalogue import describe_weights

    typer.echo(format_vocabulary(describe_weights(name).vocabulary), nl=False)


@weights_app.command("info")
def info(name: NameArgument, format_: FormatOption = WeightsFormat.TABLE) -> None:
    """Say everything that is known about weights, also before they are here.

    Example: tagcli weights info won2020-msd-fcn
    """
    from tagcli.weights.catalogue import describe_weights

    facts = _facts(describe_weights(name))
    if format_ is WeightsFormat.JSON:
        _print_json(facts)
    else:
        _print_facts(facts)


@weights_app.command("pull")
def pull_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names as `tagcli weights list` has them.")],
) -> None:
    """Fetch published weights, check their SHA-256 and make checkpoints of them; prints where they lie.

    TAGCLI_WEIGHTS_MIRROR names a folder or an address to fetch from in place of the published ones.

    Example: tagcli weights pull won2020-msd-fcn
    """
    for name in names:
        _print_path(_pull_with_bar(name))


@weights_app.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A published file, as its authors made it.")],
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The weights that it is, or that it is another training of."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write; else the weights folder.")
    ] = None,
) -> None:
    """Make a checkpoint of a published file that you have; prints where it lies.

    A published file is recognised by its SHA-256. Another training of the same layout needs --as and --output.

    Example: tagcli weights import model_best.hdf5 --as choi2017-keras2
    """
    from tagcli.weights.intake import import_weights

    _print_path(import_weights(source, name=as_, output=output))


weights_app.command("calibrate")(calibrate)


@weights_app.command("path")
def path_command(name: NameArgument) -> None:
    """Print where a checkpoint lies.

    Example: tagcli weights path won2020-msd-fcn
    """
    from tagcli.weights.catalogue import find_weights

    _print_path(find_weights(name))


def _pull_with_bar(name: str) -> Path:
    from tqdm import tqdm

    from tagcli.weights.intake import pull

    with tqdm(desc=name, unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def show(n_bytes: int, n_bytes_in_all: int) -> None:
            bar.total = n_bytes_in_all
            bar.update(n_bytes - bar.n)

        return pull(name, progress=show)


def _fields(row: "WeightsRow") -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(row)


def _facts(weights: "WeightsDescription") -> dict[str, object]:
    return {
        "name": weights.name,
        "state": weights.state,
        "path": None if weights.path is None else _readable(weights.path),
        "get": weights.how_to_get,
        "note": weights.note,
        "url": weights.url,
        "sha256": weights.sha256,
        "licence": weights.provenance.licence,
        "citation": weights.provenance.citation,
        "training_data": weights.provenance.training_data,
        "roc_auc": weights.provenance.roc_auc,
        "pr_auc": weights.provenance.pr_auc,
        "sample_rate": weights.sample_rate,
        "n_tags": len(weights.vocabulary),
        "vocabulary": weights.vocabulary.name,
        "tags": list(weights.vocabulary.tags),
        "thresholds": (
            None if weights.thresholds is None else dict(zip(weights.vocabulary.tags, weights.thresholds, strict=True))
        ),
    }


def _print_json(content: object) -> None:
    import json

    typer.echo(json.dumps(content, indent=2))


def _print_path(path: Path) -> None:
    typer.echo(os.fsencode(path))  # bytes: a name that is not UTF-8 comes out as it is


def _readable(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


def _print_rows(rows: "list[WeightsRow]") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True, overflow="ignore")
    table.add_column("state", no_wrap=True)
    for number in ("tags", "Hz", "ROC-AUC", "PR-AUC"):
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("licence")
    for row in rows:
        table.add_row(
            row.name,
            row.state,
            str(row.n_tags),
            str(row.sample_rate),
            _figure(row.roc_auc),
            _figure(row.pr_auc),
            row.licence,
        )
    _print_table(table)


def _print_facts(facts: dict[str, object]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("fact", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    for fact, value in facts.items():
        if value is not None:
            table.add_row(fact.replace("_", " "), _describe_fact(value))
    _print_table(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _print_table(table: "Table") -> None:
    import sys

    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else PIPE_WIDTH, markup=False, emoji=False, highlight=False)
    if is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _describe_fact(value: object) -> str:
    """Make a list, or numbers by their names, into a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.3f}" for name, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
