"""What `predict` can save beside its results: embeddings, and scores over time."""

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from tagcli.cli.npz_output import open_npz
from tagcli.cli.output import open_output
from tagcli.rows import describe_path
from tagcli.tags import Failure, TrackScores, Vocabulary

Keep = Callable[[str, TrackScores], None]
"""Is given each track that was heard, with its path as text."""


class Extras:
    """Collects from the results what was asked for.

    Parameters
    ----------
    keepers
        What takes its part of each result.
    """

    def __init__(self, *keepers: Keep) -> None:
        self._keepers = keepers

    @classmethod
    @contextmanager
    def open(
        cls, vocabulary: Vocabulary, *, clip_seconds: float, embeddings: Path | None, over_time: Path | None
    ) -> "Iterator[Extras]":
        """Open the files; each appears under its name when the context ends without an error.

        Parameters
        ----------
        vocabulary
            Names of the columns over time.
        clip_seconds
            Length of a clip.
        embeddings
            An npz file: ``paths`` [shape=(n_tracks,)], ``block_1`` ... [shape=(n_tracks, n_channels)]; None for none.
        over_time
            None for none. A CSV file: path, start_seconds, one column for each tag. Or an npz file: ``scores``
            [shape=(n_clips, n_tags)], ``tags`` [shape=(n_tags,)], and of each clip ``paths``, ``start_seconds`` and
            ``duration_seconds`` [shape=(n_clips,) each]. A clip of a track that is shorter has the track's duration.

        Raises
        ------
        OutputError
            When a file cannot be written.
        """
        with ExitStack() as stack:
            keepers = []
            if embeddings is not None:
                keepers.append(stack.enter_context(_keep_embeddings(embeddings)))
            if over_time is not None:
                is_npz = over_time.suffix.lower() == ".npz"
                taggrams = (
                    _keep_arrays(over_time, vocabulary, clip_seconds) if is_npz else _keep_lines(over_time, vocabulary)
                )
                keepers.append(stack.enter_context(taggrams))
            yield cls(*keepers)

    def add(self, result: TrackScores | Failure) -> None:
        """Take from a result what is wanted; failures have nothing."""
        if isinstance(result, Failure):
            return
        path = describe_path(result.path)["path"]
        for keep in self._keepers:
            keep(path, result)


@contextmanager
def _keep_embeddings(target: Path) -> Iterator[Keep]:
    with open_npz(target) as arrays:

        def keep(path: str, result: TrackScores) -> None:
            arrays.add_texts("paths", path, 1)
            for number, block in enumerate(result.embeddings, start=1):
                arrays.add_rows(f"block_{number}", block[np.newaxis])

        arrays.add_texts("paths", "", 0)
        yield keep


@contextmanager
def _keep_arrays(target: Path, vocabulary: Vocabulary, clip_seconds: float) -> Iterator[Keep]:
    with open_npz(target) as arrays:

        def add(path: str, scores: np.ndarray, starts: np.ndarray, duration_seconds: float) -> None:
            arrays.add_rows("scores", scores)
            arrays.add_rows("start_seconds", starts)
            arrays.add_rows("duration_seconds", np.full(len(starts), min(clip_seconds, duration_seconds)))
            arrays.add_texts("paths", path, len(starts))

        def keep(path: str, result: TrackScores) -> None:
            if result.taggram is not None and result.clip_starts_seconds is not None:
                add(path, result.taggram, result.clip_starts_seconds, result.duration_seconds)

        for tag in vocabulary.tags:
            arrays.add_texts("tags", tag, 1)
        add("", np.empty((0, len(vocabulary)), dtype=np.float32), np.empty(0), 0.0)
        yield keep


@contextmanager
def _keep_lines(target: Path, vocabulary: Vocabulary) -> Iterator[Keep]:
    with open_output(target) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "start_seconds", *vocabulary.tags])

        def keep(path: str, result: TrackScores) -> None:
            if result.taggram is not None and result.clip_starts_seconds is not None:
                for start, scores in zip(result.clip_starts_seconds, result.taggram, strict=True):
                    writer.writerow([path, f"{start:.3f}", *(f"{score:.6f}" for score in scores)])

        yield keep
