"""The audio of a data set, cut into what a model takes."""

import math
import threading
from typing import Protocol

import numpy as np

from tagcli.audio.clips import ClipChoice, ClipRule, fill_clip
from tagcli.audio.excerpts import read_excerpt
from tagcli.audio.reading import MIN_TAIL_SECONDS, MIN_TRACK_SECONDS
from tagcli.audio.sources import Waveform
from tagcli.audio.treatment import resample
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

    def n_samples(self, row: int) -> int:
        """Say how long an example's excerpt is.

        Raises
        ------
        AudioError
            When it cannot be decoded.
        """

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """Give a part of an example's excerpt, which lies within it [shape=(n_samples,)], float32; only to be read.

        Raises
        ------
        AudioError
            When it cannot be decoded.
        ValueError
            When the part does not lie within the excerpt.
        """


class DecodedAudio:
    """Decodes each excerpt whenever it is wanted; each thread keeps its last one, as it is cut from next.

    Parameters
    ----------
    manifest
        The data set.
    sample_rate
        Rate of the waveforms in Hz.
    max_seconds
        Of a longer excerpt only so much is heard, from its middle; None for all of it.
    """

    def __init__(self, manifest: Manifest, *, sample_rate: int, max_seconds: float | None = None) -> None:
        self.manifest = manifest
        self.sample_rate = sample_rate
        self._max_seconds = max_seconds
        self._last = _Last()

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        if self._last.row != row:
            duration = float(self.manifest.durations_seconds[row])
            waveform = read_excerpt(
                self.manifest.locate(row),
                self.sample_rate,
                start_seconds=float(self.manifest.starts_seconds[row]),
                seconds=None if math.isnan(duration) else duration,
                max_seconds=self._max_seconds,
            )
            self._last.row, self._last.waveform = row, waveform
        return self._last.waveform

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        return len(self.read(row))

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """See `ExampleAudio.read_part`."""
        waveform = self.read(row)
        check_part(start, n_samples, len(waveform))
        return waveform[start : start + n_samples]


class ResampledAudio:
    """Gives another's waveforms at another rate.

    Parameters
    ----------
    audio
        The other.
    sample_rate
        In Hz.
    """

    def __init__(self, audio: ExampleAudio, sample_rate: int) -> None:
        self.manifest, self.sample_rate = audio.manifest, sample_rate
        self._audio = audio

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        return resample(self._audio.read(row), self._audio.sample_rate, self.sample_rate)

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        return len(self.read(row))

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """See `ExampleAudio.read_part`."""
        waveform = self.read(row)
        check_part(start, n_samples, len(waveform))
        return waveform[start : start + n_samples]


class _Last(threading.local):
    """What a thread has decoded last."""

    row: int | None = None
    waveform: Waveform = np.empty(0, dtype=np.float32)


def check_part(start: int, n_samples: int, n_there: int) -> None:
    """Refuse a part that does not lie within its excerpt.

    Raises
    ------
    ValueError
        When it does not.
    """
    if not 0 <= start <= start + n_samples <= n_there:
        msg = f"the samples from {start} to {start + n_samples} do not lie in an excerpt of {n_there}"
        raise ValueError(msg)


def read_clip(audio: ExampleAudio, row: int, position: float, rule: ClipRule) -> Waveform:
    """Read one clip of an example, at a relative position, and nothing else of it where that is possible.

    Parameters
    ----------
    audio
        Where the waveforms come from.
    row
        The example.
    position
        In [0, 1]: 0 is the earliest, 1 the latest that fits.
    rule
        Length of a clip, and what becomes of a shorter excerpt.

    Returns
    -------
    numpy.ndarray
        [shape=(rule.n_samples,)]

    Raises
    ------
    AudioError
        When the excerpt cannot be decoded.
    """
    spare = audio.n_samples(row) - rule.n_samples
    if spare < 0:
        return fill_clip(audio.read(row), rule)
    return audio.read_part(row, round(position * spare), rule.n_samples)


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
