"""Results files that were edited by hand, or made by another program: what says which tags a track has is enough.

json and jsonl need ``path`` and ``tags`` of a row, and of a tag its name; csv needs the columns ``path`` and ``tag``,
in any order, separated by comma, semicolon or tabulator as spreadsheets save it. A tag without a score was given by
hand and has 1. A track's lines may lie anywhere. Tags are ordered by score, equal ones as they are in the file.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tagcli.errors import ResultsError
from tagcli.results import Head, Results
from tagcli.rows import Row, Status

_DELIMITERS = ",;\t"
_HAND_SCORE = 1.0
_EMPTY_FIELDS = Row(path=Path(), status=Status.OK).to_dict()
_TOLD = ("path", "path_b64", "status", "reason", "tags")


def read_edited_results(path: Path) -> Results:
    """Read a results file, whatever its name.

    Parameters
    ----------
    path
        The file, UTF-8 with or without a byte order mark.

    Returns
    -------
    Results
        One row for each track; of what is told besides the tags, only status and reason.

    Raises
    ------
    ResultsError
        When it cannot be read or is no such file; the sentence names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        msg = f"The results {path} cannot be read ({error.strerror}); check the path."
        raise ResultsError(msg, path=path) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not in UTF-8; save it from the spreadsheet as CSV UTF-8."
        raise ResultsError(msg, path=path) from error
    try:
        is_json = text.lstrip().startswith(("{", "["))
        head, fields = _read_json(text) if is_json else (None, _read_csv(text))
        return Results(rows=iter(_join(map(_make_row, fields))), head=head)
    except (ValueError, RecursionError) as error:
        msg = f"{path} cannot be read as results ({error!s:.200}); give path and tags of each track."
        raise ResultsError(msg, path=path) from error


def _read_json(text: str) -> tuple[Head | None, Iterable[tuple[str, Any]]]:
    """Read a document or lines; give the head, and the fields of each row with where it is."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        row = json.loads(first)
        is_lines = isinstance(row, dict) and "path" in row
    except ValueError:
        is_lines = False
    if is_lines:
        lines = enumerate(text.split("\n"), start=1)  # names may hold other ends of lines
        return None, [(f"line {number}", _parse(number, line)) for number, line in lines if line.strip()]
    document = json.loads(text)
    if isinstance(document, list):
        document = {"tracks": document}
    if not isinstance(document.get("tracks"), list):
        msg = "there is no list of tracks"
        raise ValueError(msg)
    return _read_head(document), [(f"track {number}", row) for number, row in enumerate(document["tracks"], start=1)]


def _parse(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        msg = f"line {number} is no JSON: {error}"
        raise ValueError(msg) from error


def _read_head(document: dict[str, Any]) -> Head | None:
    model, settings = document.get("model"), document.get("settings", {})
    if not isinstance(model, dict) or not isinstance(settings, dict):
        return None
    if not all(isinstance(model.get(key), str) for key in ("name", "sha256")):
        return None
    return Head(name=model["name"], sha256=model["sha256"], settings=settings)


def _read_csv(text: str) -> Iterator[tuple[str, Any]]:
    """Give the fields of each line with where it is."""
    text = re.sub(r"\Asep=.\r?\n", "", text)  # a hint to a spreadsheet program
    opening = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=opening.count)
    reader: csv.DictReader[str] = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    if not {"path", "tag"} <= set(reader.fieldnames):
        msg = "there are no columns named path and tag"
        raise ValueError(msg)
    try:
        for line in reader:
            if not any(line.values()):  # a row whose cells were cleared
                continue
            tag = (line.get("tag") or "").strip()
            told: dict[str, Any] = {key: line.get(key) for key in ("path", "status", "reason") if line.get(key)}
            yield f"line {reader.line_num}", told | {"tags": [{"tag": tag, "score": line.get("score")}] if tag else []}
    except csv.Error as error:
        msg = f"line {reader.line_num}: {error}"
        raise ValueError(msg) from error


def _make_row(place_and_fields: tuple[str, Any]) -> Row:
    place, fields = place_and_fields
    try:
        if not isinstance(fields, dict) or "path" not in fields or not isinstance(fields.get("tags"), list):
            msg = "path or tags are missing"
            raise ValueError(msg)
        tags = [_complete_tag(tag) for tag in fields["tags"]]
        return Row.from_dict(_EMPTY_FIELDS | {key: fields[key] for key in _TOLD if key in fields} | {"tags": tags})
    except (ValueError, TypeError) as error:
        msg = f"{place}: {error}"
        raise ValueError(msg) from error


def _complete_tag(tag: Any) -> dict[str, Any]:
    """Give a tag its score; spreadsheets of some countries write a comma in numbers."""
    if not isinstance(tag, dict) or "tag" not in tag:
        msg = f"{tag!r:.60} is no tag"
        raise ValueError(msg)
    if isinstance(tag["tag"], str) and any(unicodedata.category(character) == "Cc" for character in tag["tag"]):
        msg = f"{tag['tag']!r:.60} holds a line break or another control character"
        raise ValueError(msg)
    score = tag.get("score")
    if score is None or score == "":
        score = _HAND_SCORE
    elif isinstance(score, str):
        score = float(score.replace(",", "."))
    return {"tag": tag["tag"], "score": score}


def _join(rows: Iterable[Row]) -> list[Row]:
    """Put the tags of each track together."""
    joined: dict[Path, Row] = {}
    for row in rows:
        known = joined.get(row.path)
        joined[row.path] = row if known is None else replace(known, tags=known.tags + row.tags)
    return [replace(row, tags=_order(row)) for row in joined.values()]


def _order(row: Row) -> tuple[Any, ...]:
    best: dict[str, Any] = {}
    for tag in sorted(row.tags, key=lambda tag: -tag.score):
        best.setdefault(tag.tag, tag)
    return tuple(best.values())
