"""Tables of figures and their intervals: rounded, and never wrapped or cut when they are not for a terminal."""

import math
from collections.abc import Iterable, Sequence
from typing import TextIO

from tagcli.cli.output import make_printable
from tagcli.evaluation import Agreement, Estimate, Evaluation

PIPE_WIDTH = 100_000
"""Columns of a table that is not for a terminal: nothing in it is ever wrapped or cut."""
_TEXT_COLUMNS = ("tag", "other tag", "category", "example", "label")


def tell_of_seen(found: Evaluation | Agreement) -> str:
    """Say in a title whether the examples were seen in training."""
    by_seen = f" ({found.n_seen} by artists that it was trained on)" if found.n_seen else ""
    return f", SEEN DATA{by_seen}: an upper bound" if found.is_seen else ""


def tell_of_intervals(found: Evaluation | Agreement) -> str:
    """Say below a table how its intervals were made."""
    if not found.n_replicates:
        return "no intervals"
    groups = f"{found.n_groups} {found.grouping.value}s"
    return f"95 % intervals: {found.n_replicates} replicates over {groups}, seed {found.seed}"


def list_estimate(estimate: Estimate) -> list[str]:
    """Give the cells of a figure and its interval."""
    return [round_figure(estimate.value), round_interval(estimate.low, estimate.high)]


def round_figure(value: float) -> str:
    """Round a figure; an undefined one is a dash."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def round_interval(low: float, high: float, *, signed: bool = False) -> str:
    """Round an interval; of an undefined one there is nothing."""
    if math.isnan(low):
        return ""
    return f"{low:+.4f} to {high:+.4f}" if signed else f"{low:.4f} to {high:.4f}"


def print_table(
    stream: TextIO, title: str, header: Sequence[str], *parts: Iterable[Sequence[str]], captions: Sequence[str] = ()
) -> None:
    """Print a table between its title and its captions."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, justify="left" if name in _TEXT_COLUMNS else "right", overflow="fold")
    for part in parts:
        for row in part:
            table.add_row(*(Text(make_printable(cell)) for cell in row))
        table.add_section()
    width = None if stream.isatty() else PIPE_WIDTH
    console = Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    rows = [line.rstrip() for line in capture.get().splitlines()]
    lines = [make_printable(title), *rows, *map(make_printable, captions)]
    stream.write("\n".join(lines) + "\n\n")
