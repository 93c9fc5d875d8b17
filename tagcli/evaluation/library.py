"""A user's own library as a data set: what its genre fields say."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from tagcli.audio.collection import find_collection
from tagcli.datasets import Manifest
from tagcli.datasets.manifest import order_tags
from tagcli.errors import DatasetError, MetadataError
from tagcli.metadata.fields import OWN_NAMES, Field, Metadata
from tagcli.metadata.players import Player
from tagcli.metadata.seen import read_as

logger = logging.getLogger(__name__)

_SPLITTING_PLAYER = Player.NAVIDROME  # reads every container, and splits several genres in one text


def read_library(folder: Path) -> Manifest:
    """Read the genre fields of a music library.

    Genres that differ by upper and lower case only are one. What tagcli itself has put into a genre field is no truth
    to judge by and is passed over. A track without a genre knows nothing.

    Parameters
    ----------
    folder
        Searched for audio.

    Raises
    ------
    CollectionError
        When there is no audio.
    DatasetError
        When no track has a genre.
    """
    from tagcli.metadata import read_metadata  # brings every container along

    paths = find_collection([folder])
    genres: list[dict[str, str]] = []
    for path in paths:
        try:
            genres.append({genre.casefold(): genre for genre in _read_genres(read_metadata(path))})
        except MetadataError as error:
            logger.info("%s", error)
            genres.append({})
    counts = Counter(genre for row in genres for genre in row)
    spellings = Counter((letters, genre) for row in genres for letters, genre in row.items())
    best = {letters: genre for (letters, genre), _ in reversed(spellings.most_common())}
    if not counts:
        msg = f"No track in {folder} has a genre of the user's own; --library judges by these."
        raise DatasetError(msg, path=folder)
    index = {letters: column for column, letters in enumerate(order_tags(counts))}
    labels = np.zeros((len(paths), len(index)), dtype=np.bool_)
    for row, found in enumerate(genres):
        labels[row, [index[letters] for letters in found]] = True
    names = tuple(path.relative_to(folder).as_posix() if path != folder else path.name for path in paths)
    return Manifest(
        name=folder.name or str(folder),
        root=folder if folder.is_dir() else folder.parent,
        tags=tuple(best[letters] for letters in index),
        paths=names,
        ids=names,
        splits=("",) * len(paths),
        artists=("",) * len(paths),
        starts_seconds=np.zeros(len(paths)),
        durations_seconds=np.full(len(paths), np.nan),
        labels=labels,
        known=np.repeat(labels.any(axis=1, keepdims=True), len(index), axis=1),
    )


def _read_genres(metadata: Metadata) -> tuple[str, ...]:
    """Read the genres that are the user's own."""
    added = {
        value
        for field in metadata.fields
        if field.field.upper().endswith(OWN_NAMES[Field.ADDED])
        for value in field.values
    }
    return tuple(
        value
        for seen in read_as(metadata, _SPLITTING_PLAYER)
        if seen.field is Field.GENRE
        for value in seen.values
        if f"{Field.GENRE}={value}" not in added
    )
