"""What the analyses have in common at the terminal: options, and answers as JSON, CSV and pictures."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, TextIO

import typer

from tagcli.cli.evaluation_choices import check_outputs, check_picture
from tagcli.cli.options import EvaluationFormat

FormatOption = Annotated[EvaluationFormat, typer.Option("--format", help="How results are printed.")]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Print results into a file.")]
FigureOption = Annotated[
    Path | None, typer.Option("--figure", metavar="FILE", help="Draw the picture as png, svg or pdf.")
]
BootstrapOption = Annotated[
    int, typer.Option("--bootstrap", metavar="N", min=0, help="Replicates for the intervals; 0 for none.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")]


def check_answers(*, output: Path | None, figure: Path | None, inputs: Iterable[Path]) -> None:
    """See before any work that results and a picture can be had, and overwrite nothing that is read.

    Raises
    ------
    OutputError
        When they cannot.
    """
    check_outputs((output, figure), inputs)
    if figure is not None:
        check_picture(figure)
        from tagcli.figures.saving import check_drawable

        check_drawable()


def save_picture(figure: Path, draw: Callable[..., None], found: Any) -> None:
    """Draw what was found into a file, in the format that its name ends with."""
    from tagcli.cli.output import open_output

    with open_output(figure, binary=True) as file:
        draw(found, file, format_=figure.suffix.lower().removeprefix("."))


def write_json(document: Mapping[str, Any], stream: TextIO) -> None:
    """Write one JSON document."""
    json.dump(document, stream, ensure_ascii=False, indent=2)
    stream.write("\n")


def write_csv(rows: Sequence[Mapping[str, Any]], stream: IO[str]) -> None:
    """Write rows that all have the same columns; None is an empty cell."""
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
