"""The audio of a data set, cut into what a model takes."""

import math
from typing import Protocol

from tagcli.audio.clips import ClipChoice, ClipRule, fill_clip
from tagcli.audio.excerpts import read_excerpt
from tagcli.audio.reading import MIN_TAIL_SECONDS, MIN_TRACK_SECONDS
from tagcli.audio.sources import Waveform
from tagcli.datasets.manifest import Manifest


class ExampleAudio(Protocol):
    """Gives the waveforms of a manifest's examples; from any thread."""

    manifest: Manifest
    sample_rate: int

    def read(self, row: int) -> Waveform:
        """Give an example's whole excerpt [shape=(n_samples,)], float32; only to be read.

        Raises
        ------
        AudioError
            When it cannot be decoded.
        """


class DecodedAudio:
    """Decodes each excerpt whenever it is wanted.

    Parameters
    ----------
    manifest
        The data set.
    sample_rate
        Rate of the waveforms in Hz.
    """

    def __init__(self, manifest: Manifest, *, sample_rate: int) -> None:
        self.manifest = manifest
        self.sample_rate = sample_rate

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        duration = float(self.manifest.durations_seconds[row])
        return read_excerpt(
            self.manifest.locate(row),
            self.sample_rate,
            start_seconds=float(self.manifest.starts_seconds[row]),
            seconds=None if math.isnan(duration) else duration,
        )


def cut_clips(waveform: Waveform, choice: ClipChoice, rule: ClipRule, *, sample_rate: int) -> list[Waveform]:
    """Cut an excerpt into the clips that are scored, by the rules for whole tracks.

    Parameters
    ----------
    waveform
        [shape=(n_samples,)]
    choice
        Which clips.
    rule
        Their length, and what becomes of a shorter excerpt.
    sample_rate
        In Hz.

    Returns
    -------
    list of numpy.ndarray
        [shape=(rule.n_samples,) each], at least one.

    Raises
    ------
    ValueError
        When the excerpt is shorter than a second.
    """
    n_samples, length = len(waveform), rule.n_samples
    if n_samples < length:
        if n_samples < MIN_TRACK_SECONDS * sample_rate:
            msg = (
                f"an excerpt of {n_samples / sample_rate:.3f} s is less than the {MIN_TRACK_SECONDS:.0f} s to judge by"
            )
            raise ValueError(msg)
        return [fill_clip(waveform, rule)]
    starts = choice.starts(n_samples, length)
    if starts is None:
        starts = list(range(0, n_samples - length + 1, length))
        if n_samples - (starts[-1] + length) >= MIN_TAIL_SECONDS * sample_rate:
            starts.append(n_samples - length)
    return [waveform[start : start + length] for start in starts]


def cut_at(waveform: Waveform, position: float, rule: ClipRule) -> Waveform:
    """Cut one clip at a relative position: 0 is the earliest, 1 the latest that fits.

    Parameters
    ----------
    waveform
        [shape=(n_samples,)], not empty.
    position
        In [0, 1].
    rule
        Length of a clip, and what becomes of a shorter excerpt.

    Returns
    -------
    numpy.ndarray
        [shape=(rule.n_samples,)]
    """
    spare = len(waveform) - rule.n_samples
    if spare < 0:
        return fill_clip(waveform, rule)
    start = round(position * spare)
    return waveform[start : start + rule.n_samples]
