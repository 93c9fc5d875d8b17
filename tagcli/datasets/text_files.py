"""Text of a data set: plain or gzipped, in UTF-8, as lines, values or a table."""

import ast
import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagcli.errors import DatasetError

_GZIP_MAGIC = b"\x1f\x8b"


def read_start(path: Path, n_bytes: int = 1 << 16) -> bytes:
    """Read the first bytes of a file, unpacked when it is gzipped, whatever its name.

    Raises
    ------
    DatasetError
        When it cannot be read, or its packing is damaged.
    """
    return _read(path, n_bytes)


def read_text(path: Path, *, errors: str = "strict") -> str:
    """Read a file, unpacked when it is gzipped, without a byte order mark; ends of lines stay as they are.

    Parameters
    ----------
    path
        The file.
    errors
        What becomes of bytes that are not UTF-8, as `bytes.decode` has it.

    Raises
    ------
    DatasetError
        When it cannot be read, its packing is damaged, or it is not UTF-8.
    """
    content = _read(path, -1)
    try:
        return content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{path} is not in UTF-8 (line {line}); save it as UTF-8."
        raise DatasetError(msg, path=path) from error


def read_values(path: Path) -> list[str]:
    """Read a file of one value a line.

    Raises
    ------
    DatasetError
        As `read_text`, or when there is none.
    """
    values = [line.strip() for line in read_text(path).rstrip().split("\n")]
    if values == [""]:
        msg = f"{path} is empty; give one value a line."
        raise DatasetError(msg, path=path)
    return values


def read_tag_list(path: Path) -> tuple[str, ...]:
    """Read tags: one a line, or the first list of texts in a Python file, which is parsed and never run.

    Raises
    ------
    DatasetError
        As `read_values`, or when a Python file has no list of tags, or a tag is there twice.
    """
    tags = _find_list(path) if path.suffix == ".py" else [value for value in read_values(path) if value]
    twice = next((tag for number, tag in enumerate(tags) if tag in tags[:number]), None)
    if twice is not None:
        msg = f"{path} has the tag {twice!r} twice; leave one out."
        raise DatasetError(msg, path=path)
    return tuple(tags)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a header.

    Parameters
    ----------
    path
        Where it is from, for messages.
    columns
        Cells by the name of their column, in the order of the file [shape=(n_lines,) each].
    lines
        Number of the line on which each row ends [shape=(n_lines,)].
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def require(self, *names: str) -> None:
        """Make sure that columns are there.

        Raises
        ------
        DatasetError
            When one is not.
        """
        for name in names:
            if name not in self.columns:
                there = ", ".join(self.columns)[:200]
                msg = f"{self.path} has no column {name!r} (it has: {there}); correct its first line."
                raise DatasetError(msg, path=self.path)


def read_table(path: Path, *, delimiter: str | None = None, errors: str = "strict") -> Table:
    """Read a table; names of columns are taken in small letters.

    Parameters
    ----------
    path
        The file.
    delimiter
        Between cells; None for that one of comma, semicolon and tabulator which its first line has most of.
    errors
        As of `read_text`.

    Raises
    ------
    DatasetError
        When it cannot be read, is empty, or a line has another number of cells than the first.
    """
    text = read_text(path, errors=errors)
    delimiter = delimiter or find_delimiter(text.split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip().casefold() for name in next(reader, [])]
        for row in reader:
            if len(row) == len(header):
                rows.append(row)
                lines.append(reader.line_num)
            elif row:
                msg = f"Line {reader.line_num} of {path} has {len(row)} cells where the first line has {len(header)};"
                raise DatasetError(msg + " correct it.", path=path)
    except csv.Error as error:
        msg = f"{path} is no table (line {reader.line_num}: {error}); save it as CSV again."
        raise DatasetError(msg, path=path) from error
    if not rows or len(set(header)) != len(header):
        fault = "has two columns of one name" if rows else "holds no line below its header"
        msg = f"{path} {fault}; correct it."
        raise DatasetError(msg, path=path)
    return Table(path=path, columns=dict(zip(header, zip(*rows, strict=True), strict=True)), lines=lines)


def find_delimiter(line: str) -> str:
    """Tell what separates the cells of a line: comma, semicolon or tabulator."""
    return max(",;\t", key=line.count)


def _read(path: Path, n_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not is_packed:
                return file.read(n_bytes)
            with gzip.open(file) as unpacked:
                return unpacked.read(n_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path} is a damaged gzip file ({error}); get it again."
        raise DatasetError(msg, path=path) from error
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check the path."
        raise DatasetError(msg, path=path) from error


def _find_list(path: Path) -> list[str]:
    """Find the first list of texts that a Python file holds."""
    try:
        statements = ast.parse(read_text(path)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        msg = f"{path} is no Python ({error}); give the tags in a text file, one a line."
        raise DatasetError(msg, path=path) from error
    for statement in statements:
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr)) and statement.value is not None:
            try:
                value = ast.literal_eval(statement.value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                continue
            if isinstance(value, (list, tuple)) and value and all(isinstance(tag, str) for tag in value):
                return list(value)
    msg = f"{path} has no list of tags; give them in a text file, one a line."
    raise DatasetError(msg, path=path)
