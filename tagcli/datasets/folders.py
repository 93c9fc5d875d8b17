"""Folders of audio as data sets: a sub-folder for each tag, a library with the genres of its files, or no labels."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Literal

from tagcli.audio.collection import find_tracks
from tagcli.datasets.draft import Draft, number_labels
from tagcli.datasets.splits import SPLITS, name_split
from tagcli.errors import DatasetError, MetadataError

TagField = Literal["genre"]

logger = logging.getLogger(__name__)


def read_tag_folders(folder: Path, *, root: Path | None) -> Draft:
    """Take the name of each sub-folder as the tag of all audio in it and below it.

    When the sub-folders are all called as splits are (``train``, ``validation``, ``test``), those in them are the tags.
    Audio that lies in no sub-folder is left out. An artist is that of a file's own field, or else the name of the
    folder that the file lies in, below that of its tag.

    Parameters
    ----------
    folder
        The data set.
    root
        Folder that the audio is to be looked for in; None for the same.

    Raises
    ------
    DatasetError
        When there is no audio in a sub-folder.
    """
    files = _find_files(folder)
    has_splits = _has_splits(files)
    depth = 1 + has_splits
    kept = [below for below in files if len(below.parts) > depth]
    if len(kept) < len(files):
        logger.warning("%d files lie in no tag's folder of %s and are left out.", len(files) - len(kept), folder)
    if not kept:
        msg = f"{folder} has no sub-folder with audio, one for each tag; make them, or say --from-fields genre."
        raise DatasetError(msg, path=folder)
    tags, labels = number_labels((below.parts[depth - 1],) for below in kept)
    in_files = (_read_values(folder / below)[0] for below in kept)
    return Draft.of_files(
        name=folder.resolve().name,
        root=root or folder,
        paths=[below.as_posix() for below in kept],
        tags=tags,
        labels=labels,
        splits=[name_split(below.parts[0]) if has_splits else "" for below in kept],
        artists=_choose_artists(kept, in_files, depth=depth),
    )


def read_library(folder: Path, from_fields: TagField, *, root: Path | None) -> Draft:
    """Take the genres that the files have, without those that tagcli added, as their tags.

    Genres that differ in capitals only are one, spelled as most often. A file without a genre is left out: nothing is
    known of it. An artist is that of a file's own field, or else the name of the folder that the file lies in.

    Parameters
    ----------
    folder
        The library.
    from_fields
        Which field.
    root
        As of `read_tag_folders`.

    Raises
    ------
    DatasetError
        When no file has a genre.
    """
    below: list[PurePath] = []
    artists: list[str] = []
    genres: list[tuple[str, ...]] = []
    n_without = 0
    for path in _find_files(folder):
        artist, found = _read_values(folder / path)
        if not found:
            n_without += 1
            continue
        below.append(path)
        artists.append(artist)
        genres.append(found)
    if n_without:
        logger.warning("%d files of %s have no %s and are left out.", n_without, folder, from_fields)
    if not below:
        msg = f"No file of {folder} has a {from_fields} of the user's; write some into the files first."
        raise DatasetError(msg, path=folder)
    spelling = _choose_spelling(genres)
    tags, labels = number_labels(dict.fromkeys(spelling[genre.casefold()] for genre in found) for found in genres)
    return Draft.of_files(
        name=folder.resolve().name,
        root=root or folder,
        paths=[path.as_posix() for path in below],
        tags=tags,
        labels=labels,
        artists=_choose_artists(below, artists, depth=0),
    )


def read_unlabelled(folder: Path, *, root: Path | None) -> Draft:
    """Take all audio of a folder, with no tags.

    When the sub-folders are all called as splits are (``train``, ``validation``, ``test``), they are the splits. An
    artist is that of a file's own field, or else the name of the folder that the file lies in.

    Parameters
    ----------
    folder, root
        As of `read_tag_folders`.

    Raises
    ------
    DatasetError
        When there is no audio.
    """
    files = _find_files(folder)
    has_splits = _has_splits(files)
    tags, labels = number_labels(() for _ in files)
    in_files = (_read_values(folder / below)[0] for below in files)
    return Draft.of_files(
        name=folder.resolve().name,
        root=root or folder,
        paths=[below.as_posix() for below in files],
        tags=tags,
        labels=labels,
        splits=[name_split(below.parts[0]) if has_splits and len(below.parts) > 1 else "" for below in files],
        artists=_choose_artists(files, in_files, depth=int(has_splits)),
    )


def _has_splits(files: Iterable[PurePath]) -> bool:
    """Tell whether the sub-folders are all called as splits are."""
    tops = {below.parts[0] for below in files if len(below.parts) > 1}
    return bool(tops) and all(name_split(top) in SPLITS for top in tops)


def _find_files(folder: Path) -> list[PurePath]:
    """Find the audio of a folder, below it."""
    found = [path for path in find_tracks([folder]) if path != folder]
    if not found:
        msg = f"No audio was found in {folder}; give a folder with audio, or a file that this tagcli reads."
        raise DatasetError(msg, path=folder)
    return [path.relative_to(folder) for path in found]


def _read_values(path: Path) -> tuple[str, tuple[str, ...]]:
    """Read artist and genres of a file; nothing where that cannot be."""
    from tagcli.metadata.user_values import read_user_values

    try:
        values = read_user_values(path)
    except MetadataError as error:
        logger.info("%s", error.message)
        return "", ()
    return values.artist, values.genres


def _choose_artists(files: Sequence[PurePath], in_files: Iterable[str], *, depth: int) -> list[str]:
    """Take the artists from the files, else from their folders below so many, and tell how many are from where."""
    sources: Counter[str] = Counter()
    artists = []
    for below, artist in zip(files, in_files, strict=True):
        in_folder = below.parent.name if len(below.parts) > depth + 1 else ""
        artists.append(artist or in_folder)
        sources["field" if artist else "folder" if in_folder else "none"] += 1
    logger.warning(
        "Artists are those of the files' own fields (%d files), the names of their folders (%d), or not known (%d).",
        *(sources[source] for source in ("field", "folder", "none")),
    )
    return artists


def _choose_spelling(genres: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Choose the most frequent form of each genre, of equal ones the first by its letters."""
    counts = Counter(genre for found in genres for genre in found)
    spelling: dict[str, str] = {}
    for genre in sorted(counts, key=lambda genre: (-counts[genre], genre)):
        spelling.setdefault(genre.casefold(), genre)
    return spelling
