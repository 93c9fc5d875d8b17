"""Tables of examples from anywhere: CSV, TSV and JSON lines, such as tagcli's own results."""

import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagcli.datasets.draft import Draft, number_labels, number_pairs
from tagcli.datasets.manifest import name_example
from tagcli.datasets.manifest_file import ALL_KNOWN, TAG_SEPARATOR
from tagcli.datasets.places import place_below
from tagcli.datasets.splits import name_split
from tagcli.datasets.text_files import Table, read_table, read_text
from tagcli.errors import DatasetError
from tagcli.rows import Status

PATH_NAMES = ("path", "file")
LABEL_NAMES = ("labels", "tags", "tag")
_START_NAMES = ("start_seconds", "start", "start_s")
_END_NAMES = ("end_seconds", "end", "end_s")
_DURATION_NAMES = ("duration_seconds", "duration", "duration_s")
_OF_AN_EXAMPLE = ("id", "split", "artist", "known")
_NOT_HEARD = {Status.SKIPPED.value, Status.FAILED.value}
_DECIMALS = 9  # of an end less a start: no rounding of the two shows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one line tells of an example.

    Parameters
    ----------
    place
        Where it stands, for messages.
    cells
        Texts by their names; a name that is missing is not told.
    labels
        Tags that the example carries.
    """

    place: str
    cells: Mapping[str, str]
    labels: tuple[str, ...]


def read_csv(path: Path, *, root: Path | None, labels_column: str | None) -> Draft:
    """Read a table with a header; lines that tell of the same excerpt are one example.

    Columns are ``path`` or ``file``; ``labels``, ``tags`` or ``tag`` with ``|`` between tags, or with one tag a line;
    where wanted ``split``, ``artist``, ``id``, ``start_seconds``, ``duration_seconds`` or ``end_seconds`` (also
    without their unit), and ``known`` as manifests have it. Of tagcli's results, tracks that were not tagged are left
    out.

    Parameters
    ----------
    path
        The table; comma, semicolon or tabulator separate its cells.
    root
        Folder that the paths are in; None for the table's own.
    labels_column
        Name of the column with the tags; None for the usual ones.

    Raises
    ------
    DatasetError
        When it cannot be read, lacks a column, leads out of its root, or says two things of one example.
    """
    table = read_table(path)
    names = LABEL_NAMES if labels_column is None else (labels_column.strip().casefold(),)
    column = next((name for name in names if name in table.columns), None)
    if not any(name in table.columns for name in PATH_NAMES):
        table.require(PATH_NAMES[0])
    if column is None:
        table.require(names[0])
    return _make_draft(path, _list_cells(table, column or names[0]), root=root)


def read_json_lines(path: Path, *, root: Path | None) -> Draft:
    """Read JSON lines, a JSON list, or the document of ``tagcli predict --format json``.

    Each is an object with the names that the columns of `read_csv` have. Tags are a list of texts, or of objects with
    a ``tag``.

    Parameters
    ----------
    path, root
        As of `read_csv`.

    Raises
    ------
    DatasetError
        As `read_csv`.
    """
    text = read_text(path)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    tracks = whole.get("tracks") if isinstance(whole, dict) else whole
    if isinstance(tracks, list):
        objects = ((f"track {number}", track) for number, track in enumerate(tracks, start=1))
    else:
        lines = enumerate(text.split("\n"), start=1)
        objects = ((f"line {number}", _parse(path, number, line)) for number, line in lines if line.strip())
    return _make_draft(path, (_read_object(path, place, content) for place, content in objects), root=root)


def _list_cells(table: Table, labels_column: str) -> Iterator[Record]:
    wanted = [name for name in table.columns if name != labels_column]
    columns = [table.columns[name] for name in wanted]
    for line, labels, *cells in zip(table.lines, table.columns[labels_column], *columns, strict=True):
        tags = tuple(filter(None, (tag.strip() for tag in labels.split(TAG_SEPARATOR))))
        yield Record(place=f"line {line}", cells=dict(zip(wanted, cells, strict=True)), labels=tags)


def _parse(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"Line {number} of {path} is no JSON ({error}); correct it."
        raise DatasetError(msg, path=path) from error


def _read_object(path: Path, place: str, content: Any) -> Record:
    import base64

    cells: dict[str, str] = {}
    labels: list[str] = []
    try:
        for name, value in content.items():
            if name in LABEL_NAMES:
                values = value.split(TAG_SEPARATOR) if isinstance(value, str) else value
                labels += [item["tag"] if isinstance(item, dict) else item for item in values]
            elif name == "path_b64":
                cells["path"] = os.fsdecode(base64.b64decode(value, validate=True))
            elif name == "known" and isinstance(value, list):
                cells[name] = TAG_SEPARATOR.join(value)
            elif isinstance(value, (str, int, float)):
                cells.setdefault(name, str(value))
        "|".join((*cells.values(), *labels)).encode("utf-8", "surrogateescape")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{place.capitalize()} of {path} is no example ({error}); give an object with path and tags."
        raise DatasetError(msg, path=path) from error
    if not any(name in content for name in LABEL_NAMES):
        msg = f"{place.capitalize()} of {path} has no tags; give them as `tags`."
        raise DatasetError(msg, path=path)
    return Record(place=place, cells=cells, labels=tuple(filter(None, (label.strip() for label in labels))))


def _make_draft(path: Path, records: Iterable[Record], *, root: Path | None) -> Draft:
    """Put the examples together; lines of one excerpt add up."""
    root = root or path.parent
    examples: dict[tuple[str, float, float], _Example] = {}
    n_not_heard = 0
    for record in records:
        if record.cells.get("status") in _NOT_HEARD:
            n_not_heard += 1
            continue
        file = next((record.cells[name] for name in PATH_NAMES if record.cells.get(name)), "")
        if not file:
            msg = f"{record.place.capitalize()} of {path} names no file; give its path."
            raise DatasetError(msg, path=path)
        below = place_below(file, root, place=record.place, table=path)
        start, duration = _read_excerpt(path, record)
        # nan is not equal to itself, so the end of a file has a number of its own here
        key = (below, start, -1.0 if math.isnan(duration) else duration)
        examples.setdefault(key, _Example(path=path, record=record)).add(record)
    if n_not_heard:
        logger.warning("%d lines of %s are of tracks that were not tagged and are left out.", n_not_heard, path)
    if not examples:
        msg = f"{path} holds no example; give a line for each."
        raise DatasetError(msg, path=path)
    tags, labels = number_labels(example.labels for example in examples.values())
    knowns = [example.known for example in examples.values()]
    all_tags = tags + tuple(sorted({tag for known in knowns for tag in known or ()} - set(tags)))
    paths = tuple(below for below, _, _ in examples)
    starts = np.array([start for _, start, _ in examples])
    durations = np.array([math.nan if duration < 0 else duration for _, _, duration in examples])
    names = map(name_example, paths, starts.tolist(), durations.tolist())
    return Draft(
        name=path.name.partition(".")[0],
        root=root,
        tags=all_tags,
        paths=paths,
        ids=tuple(example.id or name for example, name in zip(examples.values(), names, strict=True)),
        splits=tuple(name_split(example.split) for example in examples.values()),
        artists=tuple(example.artist for example in examples.values()),
        starts_seconds=starts,
        durations_seconds=durations,
        labels=labels,
        is_partial=np.array([known is not None for known in knowns], dtype=np.bool_),
        known=number_pairs([known or () for known in knowns], all_tags),
    )


class _Example:
    """One excerpt, as its lines tell of it."""

    def __init__(self, *, path: Path, record: Record) -> None:
        self._path = path
        self._told = {name: record.cells.get(name, "").strip() for name in _OF_AN_EXAMPLE}
        self.id, self.split, self.artist = (self._told[name] for name in ("id", "split", "artist"))
        self.known: tuple[str, ...] | None = None
        if "known" in record.cells and self._told["known"] != ALL_KNOWN:
            tags = (tag.strip() for tag in self._told["known"].split(TAG_SEPARATOR))
            self.known = tuple(dict.fromkeys(filter(None, tags)))
        self.labels: dict[str, None] = {}

    def add(self, record: Record) -> None:
        """Take the tags of a line, which must say the same of all else."""
        for name, value in self._told.items():
            if record.cells.get(name, "").strip() != value:
                msg = f"{record.place.capitalize()} of {self._path} gives an example another {name} than a line before;"
                raise DatasetError(msg + " correct one of them.", path=self._path)
        self.labels.update(dict.fromkeys(record.labels))


def _read_excerpt(path: Path, record: Record) -> tuple[float, float]:
    """Read where an excerpt begins and how long it is, in seconds; nan to the end."""
    start = _read_seconds(path, record, _START_NAMES, default=0.0)
    duration = _read_seconds(path, record, _DURATION_NAMES, default=math.nan)
    end = _read_seconds(path, record, _END_NAMES, default=math.nan)
    if math.isnan(duration) and not math.isnan(end):
        duration = round(end - start, _DECIMALS)
    if duration <= 0:
        msg = f"{record.place.capitalize()} of {path} has an excerpt without length; correct it."
        raise DatasetError(msg, path=path)
    return start, duration


def _read_seconds(path: Path, record: Record, names: Iterable[str], *, default: float) -> float:
    text = next((record.cells[name] for name in names if record.cells.get(name, "").strip()), None)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        msg = f"{record.place.capitalize()} of {path} has the time {text!r}, which is no number from 0 up; correct it."
        raise DatasetError(msg, path=path)
    return seconds
