"""What `predict` can save beside its results: embeddings, and scores over time."""

import csv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tagcli.cli.output import open_output
from tagcli.rows import describe_path
from tagcli.tags import Failure, TrackScores, Vocabulary


class Extras:
    """Collects from the results what was asked for.

    Parameters
    ----------
    keeps_embeddings
        Whether to hold the embeddings until the end; an npz file is written at once.
    taggram_writer
        Where scores over time go as they come; None when they were not asked for.
    """

    def __init__(self, *, keeps_embeddings: bool, taggram_writer: Any) -> None:
        self._keeps_embeddings = keeps_embeddings
        self._taggram_writer = taggram_writer
        self._paths: list[str] = []
        self._embeddings: list[tuple[np.ndarray, ...]] = []

    @classmethod
    @contextmanager
    def open(cls, vocabulary: Vocabulary, *, embeddings: Path | None, over_time: Path | None) -> "Iterator[Extras]":
        """Open the files; each appears under its name when the context ends without an error.

        Parameters
        ----------
        vocabulary
            Names of the columns over time.
        embeddings
            An npz file: ``paths`` [shape=(n_tracks,)], ``block_1`` ... [shape=(n_tracks, n_channels)]; None for none.
        over_time
            A CSV file: path, start_seconds, one column for each tag; None for none.

        Raises
        ------
        OutputError
            When a file cannot be written.
        """
        with ExitStack() as stack:
            taggram_writer = None
            if over_time is not None:
                taggram_writer = csv.writer(stack.enter_context(open_output(over_time)), lineterminator="\n")
                taggram_writer.writerow(["path", "start_seconds", *vocabulary.tags])
            npz_file = None if embeddings is None else stack.enter_context(open_output(embeddings, binary=True))
            extras = cls(keeps_embeddings=embeddings is not None, taggram_writer=taggram_writer)
            yield extras
            if npz_file is not None:
                np.savez(npz_file, **extras.stack_embeddings())

    def add(self, result: TrackScores | Failure) -> None:
        """Take from a result what is wanted; failures have nothing."""
        if isinstance(result, Failure):
            return
        path = describe_path(result.path)["path"]
        if self._keeps_embeddings:
            self._paths.append(path)
            self._embeddings.append(result.embeddings)
        if self._taggram_writer is not None and result.taggram is not None and result.clip_starts_seconds is not None:
            for start, scores in zip(result.clip_starts_seconds, result.taggram, strict=True):
                self._taggram_writer.writerow([path, f"{start:.3f}", *(f"{score:.6f}" for score in scores)])

    def stack_embeddings(self) -> dict[str, Any]:
        """Give paths and embeddings as arrays, one row for each track."""
        arrays: dict[str, Any] = {"paths": np.array(self._paths, dtype=np.str_)}
        for number, block in enumerate(zip(*self._embeddings, strict=True), start=1):
            arrays[f"block_{number}"] = np.stack(block)
        return arrays
