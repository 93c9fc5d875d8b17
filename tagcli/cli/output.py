"""Results as data: one writer for each format, rows as they come, files whole or not at all."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from tagcli.audio.collection import EXTENSIONS
from tagcli.cli.listing import describe_plan
from tagcli.cli.options import ResultFormat
from tagcli.errors import OutputError
from tagcli.results import CSV_COLUMNS, FORMAT_VERSION
from tagcli.rows import Row, Status

_TAG_SEPARATOR = ", "


class ResultWriter(Protocol):
    """Writes rows to a stream."""

    def begin(self, head: dict[str, Any]) -> None:
        """Write what stands before the rows; `head` holds model and settings."""

    def write(self, row: Row) -> None:
        """Write one row."""

    def end(self, summary: dict[str, Any]) -> None:
        """Write what stands behind the rows."""


def make_writer(format_: ResultFormat, stream: TextIO) -> ResultWriter:
    """Make the writer of a format."""
    writers: dict[ResultFormat, type[TableWriter | JsonWriter | JsonLinesWriter | CsvWriter]] = {
        ResultFormat.TABLE: TableWriter,
        ResultFormat.JSON: JsonWriter,
        ResultFormat.JSONL: JsonLinesWriter,
        ResultFormat.CSV: CsvWriter,
    }
    return writers[format_](stream)


class TableWriter:
    """Rows to read: fitted to a terminal, else tab-separated and never cut."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def begin(self, head: dict[str, Any]) -> None:
        """Write nothing: the rows explain themselves."""

    def write(self, row: Row) -> None:
        """Write path, tags with scores, and what became of the file."""
        fields = row.to_dict()
        tags = _TAG_SEPARATOR.join(f"{tag.tag} {tag.score:.2f}" for tag in row.tags)
        middle = tags if row.status is not Status.FAILED or row.tags else f"failed: {fields['reason']}"
        if row.status is Status.SKIPPED:
            middle = f"skipped: {fields['reason']}"
        notes = _TAG_SEPARATOR.join([*fields["warnings"], *filter(None, [fields["written"]])])
        cells = [fields["path"], middle, notes]
        if self._stream.isatty():
            _print_fitted(self._stream, cells)
        else:
            self._stream.write("\t".join(map(make_printable, cells)).rstrip("\t") + "\n")
        for line in describe_plan(row.changes, fits_padding=row.fits_padding):
            self._stream.write(line + "\n")

    def end(self, summary: dict[str, Any]) -> None:
        """Write nothing: the summary goes to the other stream."""


class JsonLinesWriter:
    """One row a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def begin(self, head: dict[str, Any]) -> None:
        """Write nothing: every line is a row."""

    def write(self, row: Row) -> None:
        """Write the row, and pass it on at once."""
        self._stream.write(json.dumps(row.to_dict(), ensure_ascii=False) + "\n")
        self._stream.flush()

    def end(self, summary: dict[str, Any]) -> None:
        """Write nothing: every line is a row."""


class JsonWriter:
    """One document, written as it grows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._separator = "\n"

    def begin(self, head: dict[str, Any]) -> None:
        """Open the document."""
        opening = json.dumps({"format_version": FORMAT_VERSION, **head}, ensure_ascii=False)
        self._stream.write(opening[:-1] + ', "tracks": [')

    def write(self, row: Row) -> None:
        """Write one row of the list."""
        self._stream.write(self._separator + json.dumps(row.to_dict(), ensure_ascii=False))
        self._separator = ",\n"

    def end(self, summary: dict[str, Any]) -> None:
        """Close the document."""
        self._stream.write('\n], "summary": ' + json.dumps(summary, ensure_ascii=False) + "}\n")


class CsvWriter:
    """One line for each tag; a track without tags has one line all the same."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")

    def begin(self, head: dict[str, Any]) -> None:
        """Write the names of the columns."""
        self._writer.writerow(CSV_COLUMNS)

    def write(self, row: Row) -> None:
        """Write the lines of one track."""
        fields = row.to_dict()
        start = [fields["path"], fields["status"], fields["reason"] or ""]
        for rank, tag in enumerate(fields["tags"], start=1):
            self._writer.writerow([*start, rank, tag["tag"], tag["score"]])
        if not fields["tags"]:
            self._writer.writerow([*start, "", "", ""])

    def end(self, summary: dict[str, Any]) -> None:
        """Write nothing: every line is a tag."""


@contextmanager
def open_output(path: Path | None, *, binary: bool = False) -> Iterator[Any]:
    """Open a results file that appears under its name only when it is complete; None or - for stdout.

    Yields
    ------
    file object
        Text in UTF-8, or bytes.

    Raises
    ------
    OutputError
        When it cannot be written, or is a file of music.
    """
    if path is None or str(path) == "-":
        with _translate_os_errors("stdout"):
            yield sys.stdout.buffer if binary else sys.stdout
            sys.stdout.flush()
        return
    refuse_music(path)
    target = path.resolve()
    is_special = target.exists() and not target.is_file()  # a pipe or a device is written to, never replaced
    temporary = target if is_special else target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _translate_os_errors(str(path)):
            with temporary.open("wb") if binary else temporary.open("w", encoding="utf-8", newline="") as file:
                yield file
            if not is_special:
                temporary.replace(target)
    except BaseException:
        if not is_special:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _translate_os_errors(name: str) -> Iterator[None]:
    """Tell in one sentence what the system says of a results file; a reader that has gone is no error of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"The results cannot be written to {name} ({error.strerror}); choose another place."
        raise OutputError(msg) from error


def refuse_music(path: Path) -> None:
    """Refuse to write results over a file that goes by the name of music, whatever it holds.

    Raises
    ------
    OutputError
        When there is such a file.
    """
    if path.suffix.lower() in EXTENSIONS and path.is_file():
        msg = f"{path} goes by the name of music, and results are not written over it; choose another place for them."
        raise OutputError(msg, path=path)


def check_outputs(outputs: Iterable[Path | None], tracks: Iterable[Path]) -> None:
    """Refuse results files that are one another, or one of the tracks.

    Raises
    ------
    OutputError
        When a track, or another results file, would be lost.
    """
    given = [path for path in outputs if path is not None and str(path) != "-"]
    if len({path.resolve() for path in given}) < len(given):
        msg = f"Results of two kinds cannot go into one file ({given[0]}); give each its own."
        raise OutputError(msg)
    taken = {_identify(path): path for path in given if path.is_file()}
    for track in tracks if taken else ():
        if _identify(track) in taken:
            msg = f"{track} is a track, and results are not written over it; choose another place for them."
            raise OutputError(msg, path=track)


def _identify(path: Path) -> tuple[int, int] | None:
    """Give device and inode of a file; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_printable(text: str) -> str:
    """Replace what would move a terminal's cursor, or end a line or a cell."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _print_fitted(stream: TextIO, cells: list[str]) -> None:
    """Print one row of a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    for ratio in (5, 6, 2):
        table.add_column(ratio=ratio, overflow="fold")
    table.add_row(*(Text(make_printable(cell)) for cell in cells))
    Console(file=stream).print(table)
