"""A sheet of questions as a file: CSV, one line a question, that any spreadsheet fills in."""

import csv
import io
from dataclasses import astuple, fields
from pathlib import Path
from typing import IO

from tagcli.analysis.annotation_sheet import Sheet, SheetLine, Subset
from tagcli.datasets.manifest import format_seconds
from tagcli.datasets.text_files import Table, read_table
from tagcli.errors import DatasetError

COLUMNS = tuple(field.name for field in fields(SheetLine))
_YES, _NO = frozenset({"1", "yes", "y", "true"}), frozenset({"0", "no", "n", "false"})


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
    lines = tuple(_parse(table, row) for row in range(len(table.lines)))
    first: dict[tuple[Subset, str, str], int] = {}
    counts: dict[str, tuple[int, int]] = {}
    for number, line in zip(table.lines, lines, strict=True):
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
    cells = {name: table.columns[name][row] for name in COLUMNS}
    try:
        n_positive, n_known = int(cells["n_positive"]), int(cells["n_known"])
        label = _read_answer(cells["label"])
        if label is None or not 0 <= n_positive <= n_known:
            msg = "the label is missing" if label is None else f"{n_positive} of {n_known} is no count"
            raise ValueError(msg)
        return SheetLine(
            subset=Subset(cells["subset"]),
            id=cells["id"],
            path=cells["path"],
            start_seconds=float(cells["start_seconds"] or 0),
            duration_seconds=float(cells["duration_seconds"]) if cells["duration_seconds"] else None,
            tag=cells["tag"],
            label=label,
            annotation=_read_answer(cells["annotation"]),
            n_positive=n_positive,
            n_known=n_known,
        )
    except ValueError as error:
        msg = f"Line {table.lines[row]} of {table.path} cannot be used ({error}); write 1 or 0 as annotation,"
        raise DatasetError(msg + " and leave the other cells as they were drawn.", path=table.path) from error


def _read_answer(text: str) -> bool | None:
    """Read yes, no, or nothing."""
    word = text.strip().casefold()
    if word and word not in _YES | _NO:
        msg = f"{text!r:.40} is neither 1 nor 0"
        raise ValueError(msg)
    return word in _YES if word else None
