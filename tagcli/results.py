"""Results files, read back: row after row, in every format that holds data, and several of them as one."""

import codecs
import csv
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from tagcli.errors import ResultsError
from tagcli.rows import Row, Status

FORMAT_VERSION = 1
CSV_COLUMNS = ("path", "status", "reason", "rank", "tag", "score")
SETTINGS_OF_THE_PLACE = frozenset({"device"})
"""What may differ between results that are merged: it changes no score."""
_DOCUMENT_KEYS = frozenset({"format_version", "model", "settings", "tracks", "summary"})
_BEST_FIRST = (Status.OK, Status.SKIPPED, Status.FAILED)
_EMPTY_FIELDS = Row(path=Path(), status=Status.OK).to_dict()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a json document tells of its run.

    Parameters
    ----------
    name, sha256
        Of the model.
    settings
        As the program wrote them.
    """

    name: str
    sha256: str
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Results:
    """What is in a results file, or in several.

    Parameters
    ----------
    rows
        To be read once.
    head
        Model and settings; None where they are not told.
    is_interrupted
        Whether it is told that a run was ended early.
    """

    rows: Iterator[Row]
    head: Head | None = None
    is_interrupted: bool = False


@contextmanager
def open_results(path: Path) -> Iterator[Results]:
    """Read a results file: json, jsonl or csv, whatever its name.

    Lines are read as their rows are asked for, a json document at once. A last line that was cut, as when a run is
    killed, is left out with a warning; of csv also the track before it, which may have more tags. What csv does not
    tell (message, warnings, length, what became of the file) its rows do not have.

    Parameters
    ----------
    path
        What ``predict`` wrote; may be a pipe.

    Yields
    ------
    Results
        Its rows can be read as long as the context is open.

    Raises
    ------
    ResultsError
        When the file cannot be read, is no results file, or is damaged; also while its rows are read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise _not_readable(path, error) from error
    with file:
        lines = _read_lines(path, file)
        opening: list[bytes] = []
        for line in lines:
            opening.append(line if opening else line.removeprefix(codecs.BOM_UTF8))
            if opening[-1].strip():
                break
        yield _read(path, opening, chain(opening, lines))


def merge_results(paths: Iterable[Path]) -> Results:
    """Read several results files as one.

    A track that occurs more than once gets one row: one that was tagged goes before one that was skipped, that before
    one that failed, and among equals the later before the earlier. The order is that of the first occurrence.

    Parameters
    ----------
    paths
        Results of one model with the same settings; the device may differ.

    Returns
    -------
    Results
        Its head is the first one; None when a file without one brings rows.

    Raises
    ------
    ResultsError
        When a file cannot be read or is damaged, or two tell of different models or settings.
    """
    merged: dict[Path, Row] = {}
    first: tuple[Path, Head] | None = None
    without_head: Path | None = None
    is_interrupted = False
    for path in paths:
        with open_results(path) as results:
            if results.head is not None:
                first = first or (path, results.head)
                _check_same_run(first, (path, results.head))
            if results.is_interrupted:
                is_interrupted = True
                logger.warning("%s is of a run that was interrupted; tracks may be missing.", path)
            for row in results.rows:
                if results.head is None:
                    without_head = path
                known = merged.get(row.path)
                if known is None or _BEST_FIRST.index(row.status) <= _BEST_FIRST.index(known.status):
                    merged[row.path] = row
    head = first[1] if first else None
    if head is not None and without_head is not None:
        logger.warning("%s does not tell its model, so the merged results tell none.", without_head)
        head = None
    return Results(rows=iter(merged.values()), head=head, is_interrupted=is_interrupted)


def _check_same_run(one: tuple[Path, Head], other: tuple[Path, Head]) -> None:
    """Refuse what was heard by another model, or with other settings."""
    (path, head), (other_path, other_head) = one, other
    differing = [] if head.sha256 == other_head.sha256 else ["model"]
    names = sorted((head.settings.keys() | other_head.settings.keys()) - SETTINGS_OF_THE_PLACE)
    differing += [name for name in names if head.settings.get(name) != other_head.settings.get(name)]
    if differing:
        msg = (
            f"{path} and {other_path} differ in {', '.join(differing)}, so they are not merged; "
            "give results of one model with the same settings."
        )
        raise ResultsError(msg, path=other_path)


# The formats


def _read(path: Path, opening: Sequence[bytes], lines: Iterator[bytes]) -> Results:
    """Tell the format by the lines up to the first that is not blank, and read all of them."""
    first = opening[-1].decode("utf-8", errors="replace").strip() if opening else ""
    if first == ",".join(CSV_COLUMNS):
        return Results(rows=_read_csv(path, lines))
    if first.startswith("{"):
        if _begins_document(first):
            return _read_document(path, b"".join(lines))
        return Results(rows=_read_json_lines(path, lines))
    if not first and path.suffix.lower() not in (".json", ".csv"):  # jsonl of a run without tracks
        return Results(rows=iter(()))
    raise _not_results(path)


def _begins_document(first: str) -> bool:
    """Tell the first line of a json document from a row."""
    try:
        return not json.loads(first).keys().isdisjoint({"format_version", "tracks"})
    except (ValueError, RecursionError):
        return re.match(r'\{\s*"path', first) is None


def _read_json_lines(path: Path, lines: Iterator[bytes]) -> Iterator[Row]:
    """Read a row from each line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            if not line.endswith(b"\n"):
                logger.warning("%s ends within line %d, which is left out.", path, number)
                return
            raise _damaged(path, f"line {number}", error) from error
        yield _make_row(path, f"line {number}", fields)


def _read_document(path: Path, raw: bytes) -> Results:
    """Read a json document."""
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"line {_find_line(raw, error)}", error) from error
    if "format_version" not in document:
        raise _not_results(path)
    version = document["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        msg = f"{path} is of format version {version!r:.40}, and this tagcli reads {FORMAT_VERSION}; use a newer one."
        raise ResultsError(msg, path=path)
    try:
        head = _read_head(document)
    except ValueError as error:
        raise _damaged(path, "its head", error) from error
    rows = (_make_row(path, f"track {number}", row) for number, row in enumerate(document["tracks"], start=1))
    return Results(rows=rows, head=head, is_interrupted=document["summary"].get("interrupted") is True)


def _read_head(document: dict[str, Any]) -> Head | None:
    """Check what stands around the rows of a document, and give its head."""
    if wrong := document.keys() ^ _DOCUMENT_KEYS:
        msg = f"{min(wrong)!r:.60} is missing or unknown"
        raise ValueError(msg)
    for name, kind in {"settings": dict, "tracks": list, "summary": dict}.items():
        if not isinstance(document[name], kind):
            msg = f"{name} is {document[name]!r:.60}"
            raise ValueError(msg)
    model, settings = document["model"], document["settings"]
    if model is None:
        return None
    is_model = isinstance(model, dict) and model.keys() == {"name", "sha256"}
    if not is_model or not all(isinstance(text, str) for text in model.values()):
        msg = f"model is {model!r:.60}"
        raise ValueError(msg)
    json.dumps([model, settings], ensure_ascii=False, allow_nan=False).encode("utf-8")  # or it cannot be written again
    return Head(name=model["name"], sha256=model["sha256"], settings=settings)


def _read_csv(path: Path, lines: Iterator[bytes]) -> Iterator[Row]:
    """Read a row from consecutive lines, ranked from 1; a track without tags has one line without a rank."""
    whole = _WholeLines(lines)
    row: Row | None = None
    is_warned = False
    for number, cells in _read_records(path, whole):
        try:
            longer = _extend(row, cells)
        except ValueError as error:
            raise _damaged(path, f"line {number}", error) from error
        if row is not None and len(longer.tags) <= 1:
            yield row
        row = longer
        if not is_warned and "\ufffd" in cells[0]:
            is_warned = True
            logger.warning("%s has, in line %d, a name that is not UTF-8; json and jsonl keep its bytes.", path, number)
    if whole.is_cut:
        more = f", and the track {row.path}, which may have more tags" if row is not None and row.tags else ""
        logger.warning("%s ends within a line, which is left out%s.", path, more)
    if row is not None and not (whole.is_cut and row.tags):
        yield row


def _read_records(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of a line, and its cells; names may hold line ends."""
    reader = csv.reader(lines, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            raise _damaged(path, f"line {number}", error) from error
        if cells and tuple(cells) != CSV_COLUMNS:
            yield number, cells


def _extend(row: Row | None, cells: Sequence[str]) -> Row:
    """Give the row that a line continues, with one more tag, or the one that it begins."""
    if len(cells) != len(CSV_COLUMNS):
        msg = f"{len(cells)} cells, not {len(CSV_COLUMNS)}"
        raise ValueError(msg)
    path, status, reason, rank, tag, score = cells
    if not rank and (tag or score):
        msg = "a tag without a rank"
        raise ValueError(msg)
    tags = [{"tag": tag, "score": float(score)}] if rank else []
    part = Row.from_dict(_EMPTY_FIELDS | {"path": path, "status": status, "reason": reason or None, "tags": tags})
    if rank in ("", "1"):
        return part
    begun = None if row is None else (row.path, row.status, row.reason, str(len(row.tags) + 1))
    if row is None or begun != (part.path, part.status, part.reason, rank):
        msg = f"rank {rank:.20} follows no line of its track"
        raise ValueError(msg)
    return replace(row, tags=row.tags + part.tags)


class _WholeLines:
    """The lines of a text but the last one, where that has no end."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.is_cut = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.is_cut = not line.endswith(b"\n")
            if not self.is_cut:
                yield line.decode("utf-8")


# Bytes, and what is wrong with them


def _read_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file."""
    try:
        yield from file
    except OSError as error:
        raise _not_readable(path, error) from error


def _make_row(path: Path, where: str, fields: Any) -> Row:
    """Make a row of what a place in a file says."""
    try:
        if isinstance(fields, dict):
            return Row.from_dict(fields)
        msg = f"{fields!r:.60} is no row"
        raise ValueError(msg)
    except ValueError as error:
        raise _damaged(path, where, error) from error


def _find_line(raw: bytes, error: Exception) -> int:
    """Tell in which line a document is damaged; the first where that is not known."""
    if isinstance(error, json.JSONDecodeError):
        return error.lineno
    return raw.count(b"\n", 0, error.start) + 1 if isinstance(error, UnicodeDecodeError) else 1


def _damaged(path: Path, where: str, error: Exception) -> ResultsError:
    """Make the error of a damaged file."""
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    msg = f"{path} is damaged in {where} ({reason:.200}); mend that by hand, or write the file again."
    return ResultsError(msg, path=path)


def _not_results(path: Path) -> ResultsError:
    """Make the error of another kind of file."""
    msg = f"{path} is no results file; give what `tagcli predict` wrote with --format json, jsonl or csv."
    return ResultsError(msg, path=path)


def _not_readable(path: Path, error: OSError) -> ResultsError:
    """Make the error of a file that the system does not give."""
    msg = f"The results {path} cannot be read ({error.strerror}); check the path."
    return ResultsError(msg, path=path)
