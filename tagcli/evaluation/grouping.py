"""Which examples belong together, because what holds for one is likely to hold for the others."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tagcli.artists import artist_key
from tagcli.datasets import Manifest
from tagcli.datasets.splits import number_artists
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
    has_artists = any(map(artist_key, manifest.artists))
    if wanted is Grouping.ARTIST and not has_artists:
        msg = f"{manifest.name} knows no artists, so they cannot be drawn; use --by track."
        raise DatasetError(msg)
    return wanted or (Grouping.ARTIST if has_artists else Grouping.TRACK)


def group_examples(manifest: Manifest, grouping: Grouping) -> npt.NDArray[np.intp]:
    """Give each example the number of its group [shape=(n_examples,)]; a track without an artist is its own."""
    artists = manifest.artists if grouping is Grouping.ARTIST else ("",) * len(manifest)
    return number_artists(artists, manifest.paths)
