"""A sheet of questions as a file: CSV, one line a question, that any spreadsheet fills in."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path
from typing import IO, TypeVar

from tagcli.analysis.annotation_sheet import Sheet, SheetLine, Subset
from tagcli.datasets.manifest import format_seconds
from tagcli.datasets.text_files import Table, read_table
from tagcli.errors import DatasetError

Value = TypeVar("Value")

COLUMNS = tuple(field.name for field in fields(SheetLine))
_YES, _NO = frozenset({"1", "1.0", "1,0", "yes", "y", "true"}), frozenset({"0", "0.0", "0,0", "no", "n", "false"})


def write_sheet(sheet: Sheet, file: IO[bytes]) -> None:
    """Write a sheet as CSV, with an empty column for the annotations that are missing."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_spell, astuple(line)) for line in sheet.lines)
    file.write(text.getvalue().encode("utf-8", "surrogateescape"))


def read_sheet(path: Path) -> Sheet:
    """Read a sheet, whatever program it was filled in with: cells apart by comma, semicolon or tabulator.

    Raises
    ------
    DatasetError
        When it cannot be read, is no sheet, asks one question twice, or holds an answer that is neither yes nor no.
    """
    table = read_table(path, errors="surrogateescape")
    table.require(*COLUMNS)
    rows = [row for row in range(len(table.lines)) if any(table.columns[name][row].strip() for name in COLUMNS)]
    lines = tuple(_parse(table, row) for row in rows)
    first: dict[tuple[Subset, str, str], int] = {}
    counts: dict[str, tuple[int, int]] = {}
    for number, line in zip((table.lines[row] for row in rows), lines, strict=True):
        earlier = first.setdefault((line.subset, line.id, line.tag), number)
        if earlier != number:
            msg = f"Lines {earlier} and {number} of {path} ask the same of {line.id!r}; leave one out."
            raise DatasetError(msg, path=path)
        if counts.setdefault(line.tag, (line.n_positive, line.n_known)) != (line.n_positive, line.n_known):
            msg = f"Line {number} of {path} has other counts of {line.tag!r} than the lines above; correct it."
            raise DatasetError(msg, path=path)
    return Sheet(name=str(path), lines=lines)


def _spell(value: Subset | str | bool | float | None) -> str:
    """Write one cell."""
    if isinstance(value, bool):
        return str(int(value))
    if value is None:
        return ""
    return format_seconds(value) if isinstance(value, float) else str(value)


def _parse(table: Table, row: int) -> SheetLine:
    """Read one line."""

    def read(name: str, kind: Callable[[str], Value]) -> Value:
        text = table.columns[name][row]
        try:
            return kind(text)
        except ValueError as error:
            what = "write 1 or 0, or nothing" if name == "annotation" else "leave it as it was drawn"
            msg = f"Line {table.lines[row]} of {table.path} has {text!r:.40} as {name}; {what}."
            raise DatasetError(msg, path=table.path) from error

    n_known = read("n_known", _read_count)
    return SheetLine(
        subset=read("subset", lambda text: Subset(text.strip().casefold())),
        id=table.columns["id"][row],
        path=table.columns["path"][row],
        start_seconds=read("start_seconds", lambda text: _read_seconds(text) or 0.0),
        duration_seconds=read("duration_seconds", _read_seconds),
        tag=table.columns["tag"][row],
        label=read("label", _read_label),
        annotation=read("annotation", _read_answer),
        n_positive=read("n_positive", lambda text: _read_count(text, most=n_known)),
        n_known=n_known,
    )


def _read_count(text: str, *, most: float = math.inf) -> int:
    """Read a number of examples."""
    count = int(text)
    if not 0 <= count <= most:
        msg = f"{count} is no count"
        raise ValueError(msg)
    return count


def _read_seconds(text: str) -> float | None:
    """Read a time, with a comma where a spreadsheet has put one."""
    return float(text.replace(",", ".")) if text.strip() else None


def _read_label(text: str) -> bool:
    """Read what the ground truth says."""
    label = _read_answer(text)
    if label is None:
        msg = "the label is missing"
        raise ValueError(msg)
    return label


def _read_answer(text: str) -> bool | None:
    """Read yes, no, or nothing."""
    word = text.strip().casefold()
    if word and word not in _YES | _NO:
        msg = f"{text!r:.40} is neither 1 nor 0"
        raise ValueError(msg)
    return word in _YES if word else None
