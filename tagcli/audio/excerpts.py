"""Decode one excerpt of a track as a whole: what data sets are made of."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tagcli.audio.decode import Track
from tagcli.audio.sources import Waveform
from tagcli.errors import AudioError, FailureCode

_MAX_KEPT_SECONDS = 600.0  # what lasts longer and does not say how long is decoded twice instead of kept whole


def read_excerpt(
    path: Path,
    sample_rate: int,
    *,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    max_seconds: float | None = None,
) -> Waveform:
    """Decode an excerpt; sought where that is exact.

    Parameters
    ----------
    path
        The file.
    sample_rate
        Rate of the samples to be given, in Hz.
    start_seconds
        Where the excerpt begins.
    seconds
        How long it is; None to the end. A file that ends before gives what there is.
    max_seconds
        Of a longer excerpt only so much is given, from its middle; None for all of it.

    Returns
    -------
    numpy.ndarray
        [shape=(n_samples,)], float32, mono, about [-1, 1]; not empty.

    Raises
    ------
    AudioError
        When the file cannot be decoded, or ends before the excerpt begins.
    """
    track = Track(path, sample_rate)
    start = round(start_seconds * sample_rate)
    wanted = None if seconds is None else round(seconds * sample_rate)
    most = None if max_seconds is None else round(max_seconds * sample_rate)
    if track.n_samples is not None:
        n_there = max(0, track.n_samples - start)
        middle = _find_middle(n_there if wanted is None else min(wanted, n_there), most)
        first, n_samples = start + middle.start, middle.stop - middle.start
        is_part = first > 0 or n_samples < n_there
        piece = track.read(first, n_samples) if is_part and n_samples > 0 else None
        if piece is not None:
            return piece
    kept: list[Waveform] = []
    n_excerpt = 0
    for block in _stream(track, start, None if wanted is None else start + wanted):
        n_excerpt += len(block)
        if most is None or n_excerpt <= max(most, _MAX_KEPT_SECONDS * sample_rate):
            kept.append(block.copy())
        else:
            kept.clear()
    middle = _find_middle(n_excerpt, most)
    if n_excerpt and sum(map(len, kept)) < n_excerpt:
        kept = [block.copy() for block in _stream(track, start + middle.start, start + middle.stop)]
        middle = slice(None)
    if not kept:
        msg = f"{path} has no audio at {start_seconds:g} s, where the excerpt begins; check the start and the file."
        raise AudioError(msg, path=path, code=FailureCode.TOO_SHORT)
    return np.concatenate(kept)[middle]


def _find_middle(n_samples: int, most: int | None) -> slice:
    """Place what is kept of an excerpt."""
    n_kept = n_samples if most is None else min(n_samples, most)
    first = (n_samples - n_kept) // 2
    return slice(first, first + n_kept)


def _stream(track: Track, start: int, end: int | None) -> Iterator[Waveform]:
    """Yield what lies between two samples, in blocks that are good until the next one is asked for."""
    position = 0
    for block in track.blocks():
        first, last = max(0, start - position), len(block) if end is None else min(len(block), end - position)
        if first < last:
            yield block[first:last]
        position += len(block)
        if end is not None and position >= end:
            return
