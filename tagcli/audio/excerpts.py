"""Decode one excerpt of a track as a whole: what data sets are made of."""

from pathlib import Path

import numpy as np

from tagcli.audio.decode import Track
from tagcli.audio.sources import Waveform
from tagcli.errors import AudioError, FailureCode


def read_excerpt(path: Path, sample_rate: int, *, start_seconds: float = 0.0, seconds: float | None = None) -> Waveform:
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
    if track.n_samples is not None:
        n_there = max(0, track.n_samples - start)
        n_samples = n_there if wanted is None else min(wanted, n_there)
        is_part = start > 0 or n_samples < n_there
        piece = track.read(start, n_samples) if is_part and n_samples > 0 else None
        if piece is not None:
            return piece
    end = None if wanted is None else start + wanted
    position = 0
    kept: list[Waveform] = []
    for block in track.blocks():
        first, last = max(0, start - position), len(block) if end is None else min(len(block), end - position)
        if first < last:
            kept.append(block[first:last].copy())
        position += len(block)
        if end is not None and position >= end:
            break
    if not kept:
        msg = f"{path} ends after {position / sample_rate:.1f} s, before the excerpt at {start_seconds:g} s begins."
        raise AudioError(msg, path=path, code=FailureCode.TOO_SHORT)
    return np.concatenate(kept)
