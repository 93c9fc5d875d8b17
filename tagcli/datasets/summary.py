"""What is in a data set: examples, artists, hours and tags, by split."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.artists import artist_key
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import number_artists, order_splits

_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """What is in one split.

    Parameters
    ----------
    split
        Its name; empty for the examples without one.
    n_examples, n_artists
        An example whose artist is not known counts as one.
    hours
        Together, of the examples whose duration the data set tells; None when it tells none.
    n_without_duration
        Number of the others.
    """

    split: str
    n_examples: int
    n_artists: int
    hours: float | None
    n_without_duration: int


@dataclass(frozen=True, kw_only=True)
class TagCounts:
    """How many examples of a split carry a tag.

    Parameters
    ----------
    split
        Name of the split.
    n_positive, n_negative, n_unknown
        Examples that carry it, do not, or of which it is not known.
    n_positive_artists
        Artists of those that carry it.
    """

    split: str
    n_positive: int
    n_negative: int
    n_unknown: int
    n_positive_artists: int


@dataclass(frozen=True, kw_only=True)
class TagSummary:
    """How many examples carry a tag.

    Parameters
    ----------
    tag
        The tag.
    total
        In the whole data set; its split is called ``all``.
    splits
        In each split, in the order of `DatasetSummary.splits`.
    """

    tag: str
    total: TagCounts
    splits: tuple[TagCounts, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What is in a data set.

    Parameters
    ----------
    name, fingerprint
        As of `Manifest`.
    root
        Folder that the paths are in, as a text.
    total
        The whole data set; its split is called ``all``.
    n_files
        Number of different files.
    n_without_artist
        Number of examples whose artist is not known.
    splits
        By split.
    tags
        In their order.
    """

    name: str
    root: str
    fingerprint: str
    total: SplitSummary
    n_files: int
    n_without_artist: int
    splits: tuple[SplitSummary, ...]
    tags: tuple[TagSummary, ...]


def summarise(manifest: Manifest) -> DatasetSummary:
    """Count what is in a data set."""
    artists = number_artists(manifest.artists, manifest.paths)
    names = order_splits(manifest.splits)
    place = {name: number for number, name in enumerate(names)}
    split_of = np.array([place[split] for split in manifest.splits], dtype=np.intp)
    everything = np.arange(len(manifest))
    parts = {"all": everything} | {name: np.flatnonzero(split_of == number) for name, number in place.items()}
    splits = [_summarise_split(manifest, name, rows, artists) for name, rows in parts.items()]
    counts = [_count_tags(manifest, name, rows, artists) for name, rows in parts.items()]
    return DatasetSummary(
        name=manifest.name,
        root=str(manifest.root),
        fingerprint=manifest.fingerprint,
        total=splits[0],
        n_files=len(set(manifest.paths)),
        n_without_artist=sum(not artist_key(artist) for artist in manifest.artists),
        splits=tuple(splits[1:]),
        tags=tuple(
            TagSummary(tag=tag, total=total, splits=tuple(by_split))
            for tag, total, *by_split in zip(manifest.tags, *counts, strict=True)
        ),
    )


def _summarise_split(
    manifest: Manifest, split: str, rows: npt.NDArray[np.intp], artists: npt.NDArray[np.intp]
) -> SplitSummary:
    durations = manifest.durations_seconds[rows]
    is_known = ~np.isnan(durations)
    return SplitSummary(
        split=split,
        n_examples=len(rows),
        n_artists=len(np.unique(artists[rows])),
        hours=float(durations[is_known].sum()) / _HOUR if is_known.any() else None,
        n_without_duration=int((~is_known).sum()),
    )


def _count_tags(
    manifest: Manifest, split: str, rows: npt.NDArray[np.intp], artists: npt.NDArray[np.intp]
) -> list[TagCounts]:
    labels, known = manifest.labels[rows], manifest.known[rows]
    n_positive, n_known = labels.sum(axis=0), known.sum(axis=0)
    n_tags = len(manifest.tags)
    examples, columns = np.nonzero(labels)
    carriers = np.unique(artists[rows][examples] * n_tags + columns)
    n_artists = np.bincount(carriers % n_tags, minlength=n_tags) if n_tags else carriers
    return [
        TagCounts(
            split=split,
            n_positive=positive,
            n_negative=told - positive,
            n_unknown=len(rows) - told,
            n_positive_artists=by_artist,
        )
        for positive, told, by_artist in zip(n_positive.tolist(), n_known.tolist(), n_artists.tolist(), strict=True)
    ]
