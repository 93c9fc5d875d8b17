"""Identifiers of the Million Song Dataset, and where the previews of its tracks lie.

A track has an identifier of 18 characters, ``TRAAAAK128F9318786``, and one of 7digital's, a number. Previews lie in
folders of the number's first digits, or of the letters behind ``TR``; a template says how.
"""

import logging
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagcli.datasets.text_files import read_text, read_values
from tagcli.errors import DatasetError

BY_NUMBER = "{a}/{b}/{id7}.clip.mp3"
BY_TRACK = "{A}/{B}/{C}/{track_id}.mp3"
TRACK_FIELDS = ("track_id", "A", "B", "C")
NUMBER_FIELDS = ("id7", "a", "b")
_TRACK = re.compile(r"TR[A-Z]{3}[A-Z0-9]{13}")
_NUMBER = re.compile(r"[0-9]{2,12}")
_ARTISTS = "unique_tracks.txt"  # of the Million Song Dataset's additional files
_SEPARATOR = "<SEP>"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MsdIds:
    """Identifiers of tracks, checked.

    Parameters
    ----------
    tracks
        ``TR...`` of each track [shape=(n_tracks,)]; None where they are not known.
    numbers
        7digital's number of each track, as text [shape=(n_tracks,)]; None where they are not known.
    """

    tracks: Sequence[str] | None
    numbers: Sequence[str] | None


def read_track_ids(path: Path) -> list[str]:
    """Read a list of track identifiers, one a line.

    Raises
    ------
    DatasetError
        When it cannot be read, or a line is none.
    """
    return _check(read_values(path), _TRACK, path, "a track's identifier such as TRAAAAK128F9318786")


def read_numbers(path: Path) -> list[str]:
    """Read a list of 7digital's numbers, or of file names that are such numbers, one a line.

    Raises
    ------
    DatasetError
        When it cannot be read, or a line is none.
    """
    stems = [value.rpartition("/")[2].partition(".")[0] for value in read_values(path)]
    return _check(stems, _NUMBER, path, "7digital's number such as 3974574")


def make_paths(template: str | None, ids: MsdIds, *, table: Path) -> tuple[str, ...]:
    """Say where previews lie.

    Parameters
    ----------
    template
        A path with the fields ``{track_id}``, ``{A}``, ``{B}``, ``{C}`` (the letters behind its TR), ``{id7}``
        (7digital's number), ``{a}``, ``{b}`` (its first digits); None for `BY_NUMBER` where numbers are known, else
        `BY_TRACK`.
    ids
        The tracks.
    table
        Where they are from, for messages.

    Returns
    -------
    tuple of str
        Paths [shape=(n_tracks,)].

    Raises
    ------
    DatasetError
        When the template has another field, or one that is not known of these tracks, or leads out of its folder.
    """
    template = template or (BY_NUMBER if ids.numbers is not None else BY_TRACK)
    known = (TRACK_FIELDS if ids.tracks is not None else ()) + (NUMBER_FIELDS if ids.numbers is not None else ())
    try:
        fields = list(string.Formatter().parse(template))
    except ValueError as error:
        msg = f"The path template {template!r} cannot be read ({error}); write one such as {BY_NUMBER}."
        raise DatasetError(msg) from error
    for _, field, form, conversion in fields:
        if field is not None and (field not in known or form or conversion):
            msg = f"The path template {template!r} has the field {field!r}; {table} has {', '.join(known)}."
            raise DatasetError(msg, path=table)
    if template.startswith(("/", "\\")) or ".." in template or not any(field for _, field, _, _ in fields):
        msg = f"The path template {template!r} names no file below the folder; write one such as {BY_NUMBER}."
        raise DatasetError(msg)
    columns: list[Iterable[dict[str, str]]] = []
    if ids.tracks is not None:
        columns.append({"track_id": track, "A": track[2], "B": track[3], "C": track[4]} for track in ids.tracks)
    if ids.numbers is not None:
        columns.append({"id7": number, "a": number[0], "b": number[1]} for number in ids.numbers)
    if len(columns) == 1:
        return tuple(template.format_map(values) for values in columns[0])
    return tuple(template.format_map(track | number) for track, number in zip(*columns, strict=True))


def find_artists(folder: Path, tracks: Sequence[str] | None) -> list[str] | None:
    """Find the artists of tracks in ``unique_tracks.txt`` (track, song, artist, title; ``<SEP>`` between them).

    Parameters
    ----------
    folder
        Where the file is looked for; None is found where it is not there.
    tracks
        Identifiers of the tracks; None is found where they are not known.

    Raises
    ------
    DatasetError
        When the file cannot be read.
    """
    path = folder / _ARTISTS
    if tracks is None or not path.is_file():
        return None
    wanted = set(tracks)
    artists: dict[str, str] = {}
    for line in read_text(path, errors="replace").split("\n"):
        cells = line.split(_SEPARATOR)
        if cells[0] in wanted and len(cells) > 2:
            artists[cells[0]] = cells[2].strip()
    n_missing = len(wanted - artists.keys())
    if n_missing:
        logger.warning("%s has no artist of %d tracks.", path, n_missing)
    return [artists.get(track, "") for track in tracks]


def _check(values: list[str], pattern: re.Pattern[str], path: Path, what: str) -> list[str]:
    for line, value in enumerate(values, start=1):
        if not pattern.fullmatch(value):
            msg = f"Line {line} of {path} is {value!r:.60}, which is not {what}; correct the list."
            raise DatasetError(msg, path=path)
    return values
