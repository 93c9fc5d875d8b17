"""The one form of every data set: which excerpt of which file carries which tags, and which absences are known."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.errors import DatasetError

Mask = npt.NDArray[np.bool_]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """A data set.

    Parameters
    ----------
    name
        What it is called, for people.
    root
        Folder that the paths are in.
    tags
        The vocabulary; a tag's index is its column.
    paths
        File of each example, relative to `root` [shape=(n_examples,)].
    ids
        What tells the examples apart [shape=(n_examples,)].
    splits
        ``train``, ``validation``, ``test``, a fold's name, or nothing.
    artists
        Artist of each example; nothing where it is not known.
    starts_seconds, durations_seconds
        Excerpt of the file [shape=(n_examples,)]; a duration of nan reaches to the end.
    labels
        Which tags an example carries [shape=(n_examples, n_tags)].
    known
        Of which tags presence or absence is known [shape=(n_examples, n_tags)]; every label is known.

    Raises
    ------
    ValueError
        When the columns are not parallel, a tag occurs twice, or a label is not known.
    """

    name: str
    root: Path
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    artists: tuple[str, ...]
    starts_seconds: Seconds
    durations_seconds: Seconds
    labels: Mask
    known: Mask

    def __post_init__(self) -> None:
        n_examples = len(self.paths)
        columns = (self.ids, self.splits, self.artists, self.starts_seconds, self.durations_seconds)
        is_parallel = all(len(column) == n_examples for column in columns)
        shape = (n_examples, len(self.tags))
        if not is_parallel or self.labels.shape != shape or self.known.shape != shape:
            msg = f"{self.name}: columns, labels and known are not parallel to {n_examples} paths and {shape[1]} tags"
            raise ValueError(msg)
        if len(set(self.tags)) != len(self.tags):
            msg = f"{self.name}: a tag occurs twice"
            raise ValueError(msg)
        if np.any(self.labels & ~self.known):
            msg = f"{self.name}: a label is not known"
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.paths)

    def locate(self, row: int) -> Path:
        """Say where the file of an example lies."""
        return self.root / self.paths[row]

    def take(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> "Manifest":
        """Keep only these examples, in this order."""
        chosen = np.asarray(rows, dtype=np.intp)
        indices = chosen.tolist()
        return replace(
            self,
            paths=tuple(self.paths[row] for row in indices),
            ids=tuple(self.ids[row] for row in indices),
            splits=tuple(self.splits[row] for row in indices),
            artists=tuple(self.artists[row] for row in indices),
            starts_seconds=self.starts_seconds[chosen],
            durations_seconds=self.durations_seconds[chosen],
            labels=self.labels[chosen],
            known=self.known[chosen],
        )

    def select(self, *splits: str) -> "Manifest":
        """Keep only the examples of some splits.

        Raises
        ------
        DatasetError
            When one of them has no example.
        """
        there = set(self.splits)
        for split in splits:
            if split not in there:
                names = ", ".join(sorted(there - {""})) or "none"
                msg = f"{self.name} has no split {split!r} (it has: {names}); name one of these, or build the splits."
                raise DatasetError(msg)
        return self.take([row for row, split in enumerate(self.splits) if split in splits])

    def keep_tags(self, tags: Sequence[str]) -> "Manifest":
        """Keep only these tags, in this order.

        Raises
        ------
        DatasetError
            When the data set has not all of them.
        """
        index = {tag: column for column, tag in enumerate(self.tags)}
        missing = [tag for tag in tags if tag not in index]
        if missing:
            msg = f"{self.name} does not have the tag {missing[0]!r}; `tagcli dataset info` lists those that it has."
            raise DatasetError(msg)
        columns = [index[tag] for tag in tags]
        return replace(self, tags=tuple(tags), labels=self.labels[:, columns], known=self.known[:, columns])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that can be learned from the table, in hexadecimal; the audio is not in it."""
        digest = hashlib.sha256()
        for column in (self.tags, self.paths, self.splits, self.artists):
            digest.update("\0".join(column).encode("utf-8", "surrogateescape") + b"\0\0")
        for array in (self.starts_seconds, self.durations_seconds, self.labels, self.known):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def name_example(path: str, start_seconds: float, duration_seconds: float) -> str:
    """Make the identifier of an example that has none of its own: its path, and where it lies in the file."""
    if start_seconds == 0 and math.isnan(duration_seconds):
        return path
    end = "" if math.isnan(duration_seconds) else f"+{format_seconds(duration_seconds)}"
    return f"{path}#{format_seconds(start_seconds)}{end}"


def format_seconds(seconds: float) -> str:
    """Write a number with as many digits as it takes to read the same one, and no more."""
    return np.format_float_positional(seconds, trim="-")


def order_tags(counts: Counter[str]) -> tuple[str, ...]:
    """Order tags by their counts, the most frequent first, equal ones by name."""
    return tuple(sorted(counts, key=lambda tag: (-counts[tag], tag)))
