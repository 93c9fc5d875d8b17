"""The wall that decoders stand behind, and the first of them: a file as mono float32 blocks at its own rate.

soundfile seeks to the sample and is fast, but gives up at the first damaged byte and guesses the length of an mp3
without a length header; PyAV decodes everything and goes on behind damage. Both give the same samples.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import soundfile

from tagcli.errors import AudioError, FailureCode, WarningCode

Waveform = npt.NDArray[np.float32]

BLOCK_SAMPLES = 65_536  # reused from block to block, so that a track of any length takes the same memory
SANE_RATES_HZ = range(1000, 3_072_001)  # a damaged header may say 1 Hz, and a minute would become hours
SHORTFALL_SECONDS = 0.1  # fewer samples than promised by more than this: the file was cut off
_LARGEST_SAMPLE = 1e10  # floats may be scaled as integers are; the squares of larger ones leave float32
_UNRECOGNISED_FORMAT = 1  # SF_ERR_UNRECOGNISED_FORMAT of sndfile.h


class Source(Protocol):
    """An opened file.

    Attributes
    ----------
    sample_rate
        Of the file, in Hz.
    warnings
        What was wrong; complete when the blocks have been read to the end.
    """

    sample_rate: int
    warnings: set[WarningCode]

    def blocks(self) -> Iterator[Waveform]:
        """Yield the whole file [shape=(n_samples,)]; a block is valid until the next one is asked for."""


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # the package has no types
    """A file that soundfile leaves where it is after each read.

    It seeks to where it is already otherwise, and an mp3 decoder then decodes the last frames again: 4 to 9 % of a
    track, at blocks of 65,536 samples.
    """

    def seekable(self) -> bool:
        """Deny it to `read`; `seek` works all the same."""
        return False


class SoundfileSource:
    """A WAV, FLAC, AIFF, Ogg or mp3 file read by libsndfile.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    n_channels
        Number of channels.
    n_samples
        Length that the header promises.

    Raises
    ------
    soundfile.LibsndfileError
        When libsndfile does not read it; PyAV may.
    AudioError
        When it has no sensible sample rate.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: set[WarningCode] = set()
        try:
            self._file = SequentialFile(os.fsencode(path))
        except TypeError as error:  # libsndfile's wrapper takes a name that ends with .raw at its word
            raise soundfile.LibsndfileError(_UNRECOGNISED_FORMAT) from error
        self.sample_rate: int = self._file.samplerate
        self.n_channels: int = self._file.channels
        self.n_samples: int = self._file.frames
        if self.sample_rate not in SANE_RATES_HZ:
            self._file.close()
            raise no_rate(path, self._file.format)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def blocks(self) -> Iterator[Waveform]:
        """Yield the whole file; where libsndfile stops before the promised end, PyAV goes on.

        Yields
        ------
        numpy.ndarray
            [shape=(n_samples,)], mean of the channels; valid until the next one is asked for.

        Raises
        ------
        AudioError
            When neither decoder gives a sample.
        """
        position = 0
        for block in self.blocks_from(0):
            position += len(block)
            yield block
        yield from go_on(self.path, position=position, n_samples=self.n_samples, warnings=self.warnings)

    def blocks_from(self, start: int) -> Iterator[Waveform]:
        """Yield the file from a sample on, for as far as libsndfile reads it.

        Parameters
        ----------
        start
            First sample, at the file's rate.
        """
        n_at_a_time = max(1, min(BLOCK_SAMPLES, 2 * BLOCK_SAMPLES // self.n_channels))
        planes = np.empty((n_at_a_time, self.n_channels), dtype=np.float32)
        mono = np.empty(n_at_a_time, dtype=np.float32)
        try:
            self._file.seek(start)
            while len(block := self._file.read(out=planes)):
                n_samples = len(block)
                waveform = mono[:n_samples]
                downmix(block.T, waveform)
                if remove_impossible(waveform):
                    self.warnings.add(WarningCode.DAMAGED)
                yield waveform
                if n_samples < n_at_a_time:
                    return
        except soundfile.LibsndfileError:
            return


def go_on(path: Path, *, position: int, n_samples: int, warnings: set[WarningCode]) -> Iterator[Waveform]:
    """Yield what is left of a file where a decoder has stopped before the promised end, by PyAV; else nothing.

    Parameters
    ----------
    path
        The file.
    position
        Number of samples that were decoded.
    n_samples
        Length that the header promises.
    warnings
        Where to add what is wrong.

    Raises
    ------
    AudioError
        When nothing can be decoded.
    """
    if position >= n_samples:
        return
    from tagcli.audio.av_source import AvSource

    with AvSource(path) as rest:
        yield from rest.blocks(skip=position)
    warnings |= rest.warnings
    if rest.n_decoded + SHORTFALL_SECONDS * rest.sample_rate < n_samples and not warnings:
        warnings.add(WarningCode.TRUNCATED)


def downmix(planes: npt.NDArray[np.floating], mono: Waveform) -> None:
    """Write the mean of the channels [shape=(n_channels, n_samples)] into `mono`."""
    with np.errstate(over="ignore", invalid="ignore"):  # `remove_impossible` looks at the result
        if len(planes) == 1:
            mono[:] = planes[0]
        elif len(planes) == 2:
            np.add(planes[0], planes[1], out=mono)
            mono *= 0.5
        else:
            np.mean(planes, axis=0, out=mono)


def remove_impossible(waveform: Waveform) -> bool:
    """Set what is not a number, or too large to be one of a sound, to zero, in place; True when there was any."""
    if waveform.min() > -_LARGEST_SAMPLE and waveform.max() < _LARGEST_SAMPLE:  # neither is true of NaN
        return False
    waveform[~(np.abs(waveform) < _LARGEST_SAMPLE)] = 0.0
    return True


def no_rate(path: Path, kind: str) -> AudioError:
    """Make the error for a file whose header gives no rate that music could have."""
    msg = f"{path} looks like {kind} but has no sample rate; it holds no music."
    return AudioError(msg, path=path, code=FailureCode.ZERO_RATE)
