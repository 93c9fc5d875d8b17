"""Which examples belong together, because what holds for one is likely to hold for the others."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tagcli.datasets import Manifest
from tagcli.errors import DatasetError


class Grouping(StrEnum):
    """What a bootstrap draws: artists, or tracks, each with all its examples."""

    ARTIST = "artist"
    TRACK = "track"


def choose_grouping(manifest: Manifest, wanted: Grouping | None) -> Grouping:
    """Settle what is drawn: artists where any is known, unless something is wanted.

    Raises
    ------
    DatasetError
        When artists are wanted and none is known.
    """
    has_artists = any(manifest.artists)
    if wanted is Grouping.ARTIST and not has_artists:
        msg = f"{manifest.name} knows no artists, so they cannot be drawn; use --by track."
        raise DatasetError(msg)
    return wanted or (Grouping.ARTIST if has_artists else Grouping.TRACK)


def group_examples(manifest: Manifest, grouping: Grouping) -> npt.NDArray[np.intp]:
    """Give each example the number of its group [shape=(n_examples,)]; a track without an artist is its own."""
    keys: list[tuple[str, str]] = [
        (artist, "" if artist else path) if grouping is Grouping.ARTIST else ("", path)
        for artist, path in zip(manifest.artists, manifest.paths, strict=True)
    ]
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
