"""MTG-Jamendo: a TSV for each split, whose last columns are as many as a track has tags.

``TRACK_ID ARTIST_ID ALBUM_ID PATH DURATION TAGS``; ``-train``, ``-validation`` or ``-test`` at the end of a file's name
gives the split. https://github.com/MTG/mtg-jamendo-dataset
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tagcli.datasets.draft import Draft, number_labels
from tagcli.datasets.places import place_below
from tagcli.datasets.splits import name_split
from tagcli.datasets.text_files import read_text
from tagcli.errors import DatasetError

HEADER = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
_NAME = re.compile(r"(?P<set>.+)-(?P<split>train|validation|test)\.tsv(\.gz)?")


def is_jamendo(first_line: bytes) -> bool:
    """Tell whether a file that begins with this line is one of these."""
    return first_line == "	".join(HEADER).encode()


def find_siblings(path: Path) -> list[Path]:
    """Find the files of all splits of the set that a file belongs to."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return [path]
    found = ((other, _NAME.fullmatch(other.name)) for other in path.parent.iterdir())
    return sorted((other for other, name in found if name and name["set"] == match["set"]), key=_rank)


def read_jamendo(files: Sequence[Path], *, root: Path | None) -> Draft:
    """Read one or several files.

    Parameters
    ----------
    files
        Plain or gzipped.
    root
        Folder that the tracks are in; None for that of the first file.

    Raises
    ------
    DatasetError
        When one cannot be read, a line has no tag, or a track is there twice.
    """
    rows = [row for file in files for row in _read_rows(file)]
    root = root or files[0].parent
    splits = [match["split"] if (match := _NAME.fullmatch(file.name)) else "" for _, file, _ in rows]
    paths = [place_below(cells[3], root, place=place, table=file) for cells, file, place in rows]
    tags, labels = number_labels(dict.fromkeys(cells[5:]) for cells, _, _ in rows)
    ids = [cells[0] for cells, _, _ in rows]
    if len(set(ids)) < len(ids):
        twice = next(id_ for number, id_ in enumerate(ids) if id_ in ids[:number])
        msg = f"The track {twice} is twice in {', '.join(map(str, files))}; give one file of each split."
        raise DatasetError(msg, path=files[0])
    return Draft.of_files(
        name=_name_set(files[0]),
        root=root,
        paths=paths,
        tags=tags,
        labels=labels,
        ids=ids,
        splits=[name_split(split) for split in splits],
        artists=[cells[1] for cells, _, _ in rows],
        durations_seconds=np.array([_read_duration(cells[4], file, place) for cells, file, place in rows]),
    )


def _read_rows(file: Path) -> list[tuple[list[str], Path, str]]:
    """Read the cells of each line, and where it stands."""
    header, *lines = read_text(file).splitlines() or [""]
    rows = []
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) < len(HEADER):
            msg = f"Line {number} of {file} has {len(cells)} cells and no tag; get it again."
            raise DatasetError(msg, path=file)
        rows.append((cells, file, f"line {number}"))
    if not rows or tuple(header.split("\t")) != HEADER:
        msg = f"{file} holds no track below the header of MTG-Jamendo; get it again."
        raise DatasetError(msg, path=file)
    return rows


def _read_duration(text: str, file: Path, place: str) -> float:
    try:
        duration = float(text)
    except ValueError:
        duration = 0.0
    if not 0 < duration < np.inf:
        msg = f"{place.capitalize()} of {file} has the duration {text!r:.40}, which is no number above 0; get it again."
        raise DatasetError(msg, path=file)
    return duration


def _rank(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return -1 if match is None else ("train", "validation", "test").index(match["split"])


def _name_set(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return path.name.partition(".")[0] if match is None else match["set"]
