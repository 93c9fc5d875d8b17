"""Last.fm's tags of the Million Song Dataset: the SQLite file ``lastfm_tags.db``.

``tid_tag(tid, tag, val)`` holds row numbers of ``tids(tid)`` and ``tags(tag)``; val is 0 to 100, relative to the most
frequent tag of a track. Artists are known when ``unique_tracks.txt`` lies beside it.
http://millionsongdataset.com/lastfm/
"""

import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tagcli.datasets.draft import Draft, Pairs
from tagcli.datasets.msd_ids import MsdIds, find_artists, make_paths, read_numbers, read_track_ids
from tagcli.datasets.msd_split import NUMBER_LISTS, TRACK_LIST
from tagcli.errors import DatasetError

DEFAULT_THRESHOLD = 50.0
"""A tag counts when its value is above, as in the split of Choi et al."""
Rows: TypeAlias = npt.NDArray[np.int64]
_TRACKS = "SELECT ROWID, tid FROM tids ORDER BY ROWID"
_TAGS = "SELECT ROWID, tag FROM tags ORDER BY ROWID"
_IS_TRACK = re.compile(r"TR[A-Z0-9]{16}").fullmatch  # a path is made of it
_N_FETCHED = 50_000  # rows in memory at a time

logger = logging.getLogger(__name__)


def read_lastfm(
    path: Path, *, root: Path | None, path_template: str | None, threshold: float | None, split_files: Sequence[Path]
) -> Draft:
    """Read the tags of tracks; memory grows with the tags above the threshold only, by eight bytes each.

    Parameters
    ----------
    path
        The SQLite file; opened read-only, and no file is made beside it.
    root
        Folder that the previews are in; None for the file's own.
    path_template
        As of `make_paths`.
    threshold
        Tags of a value above it count; None for `DEFAULT_THRESHOLD`.
    split_files
        Lists of the wanted tracks; nothing for all. A list that is called ``..._msd_id.txt`` brings 7digital's numbers
        along when they lie beside it, as ``..._7d_id.txt``.

    Raises
    ------
    DatasetError
        When it cannot be read, or is no such file.
    """
    numbers = _read_numbers_of(split_files)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            all_tracks = dict(_read_names(database, _TRACKS))
            if (odd := next((tid for tid in all_tracks.values() if not _IS_TRACK(tid)), None)) is not None:
                msg = f"{odd!r:.60} is no track's identifier"
                raise sqlite3.DataError(msg)
            wanted = set(numbers) if split_files else None
            tracks = {row: tid for row, tid in all_tracks.items() if wanted is None or tid in wanted}
            if not tracks:
                wanted_ones = "none of the tracks of the lists; check them" if split_files else "no track; get it again"
                msg = f"{path} has {wanted_ones}."
                raise DatasetError(msg, path=path)
            tag_rows = _to_array(row for row, _ in _read_names(database, _TAGS))
            pairs = _read_pairs(
                database, _to_array(tracks), tag_rows, DEFAULT_THRESHOLD if threshold is None else threshold
            )
            carried, columns = np.unique(pairs[:, 1], return_inverse=True)
            rows = set(tag_rows[carried].tolist())
            tags = tuple(tag for row, tag in _read_names(database, _TAGS) if row in rows)
    except (sqlite3.Error, OverflowError) as error:
        msg = f"{path} cannot be read as Last.fm's tags ({error}); get lastfm_tags.db again."
        raise DatasetError(msg, path=path) from error
    ids = tuple(tracks.values())
    known_numbers = [numbers.get(tid, "") for tid in ids]
    known = MsdIds(tracks=ids, numbers=known_numbers if all(known_numbers) else None)
    return Draft.of_files(
        name=path.stem,
        root=root or path.parent,
        paths=make_paths(path_template, known, table=path),
        tags=tags,
        labels=np.column_stack((pairs[:, 0], columns)).astype(np.int32),
        ids=ids,
        artists=find_artists(path.parent, ids),
    )


def _read_names(database: sqlite3.Connection, query: str) -> Iterator[tuple[int, str]]:
    """Read row numbers and texts."""
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    for row, text in database.execute(query):
        if not isinstance(row, int) or not isinstance(text, str):
            msg = f"{text!r:.60} is no text" if isinstance(row, int) else f"{row!r:.60} is no row number"
            raise sqlite3.DataError(msg)
        yield row, text


def _read_pairs(database: sqlite3.Connection, track_rows: Rows, tag_rows: Rows, threshold: float) -> Pairs:
    """Read which of the tracks carries which tag, by their places among these row numbers [shape=(n_pairs, 2)]."""
    found: list[Pairs] = [np.empty((0, 2), dtype=np.int32)]
    cursor = database.execute("SELECT tid, tag FROM tid_tag WHERE val > ?", (threshold,))
    while rows := cursor.fetchmany(_N_FETCHED):
        try:
            block = np.array(rows, dtype=np.int64)
        except (TypeError, ValueError) as error:
            msg = f"a row number is none: {error}"
            raise sqlite3.DataError(msg) from error
        tracks = _find_places(block[:, 0], track_rows)
        tags = _find_places(block[tracks >= 0, 1], tag_rows)
        if np.any(tags < 0):
            msg = "it gives a track a tag that is not in its table of tags"
            raise sqlite3.DataError(msg)
        found.append(np.column_stack((tracks[tracks >= 0], tags)).astype(np.int32))
    return np.concatenate(found)


def _to_array(rows: Iterable[int]) -> Rows:
    return np.fromiter(rows, dtype=np.int64)


def _find_places(rows: Rows, table: Rows) -> Rows:
    """Find the place of each row number in those of a table, which ascend; -1 where it is not there."""
    if not len(table):
        return np.full(len(rows), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(table, rows), len(table) - 1).astype(np.int64)
    return np.where(table[places] == rows, places, -1)


def _read_numbers_of(split_files: Sequence[Path]) -> dict[str, str]:
    """Read the wanted tracks and, as far as they lie beside the lists, 7digital's numbers."""
    numbers: dict[str, str] = {}
    for file in split_files:
        tracks = read_track_ids(file)
        names = [file.name.replace(TRACK_LIST, what) for what in NUMBER_LISTS if TRACK_LIST in file.name]
        beside = next((file.with_name(name) for name in names if file.with_name(name).is_file()), None)
        values = [""] * len(tracks) if beside is None else read_numbers(beside)
        if len(values) != len(tracks):
            msg = f"{file} has {len(tracks)} lines and {beside} {len(values)}; get them again."
            raise DatasetError(msg, path=file)
        numbers.update(zip(tracks, values, strict=True))
    return numbers
