"""The fast way through a sound mp3: decoded, mixed down and cut into blocks by a filter graph of FFmpeg's.

One call from Python for each block, during which other threads run; `AvSource` needs one for each of the 38 frames of a
second. libsndfile's mp3 decoder takes a quarter longer.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import av.filter
import numpy as np

from tagcli.audio.av_source import AvSource
from tagcli.audio.sources import BLOCK_SAMPLES, SoundfileSource, Waveform, go_on
from tagcli.errors import AudioError, WarningCode

_MEAN_OF_CHANNELS = {1: "mono|c0=c0", 2: "mono|c0=0.5*c0+0.5*c1"}


def open_graph(source: SoundfileSource) -> "GraphSource | None":
    """Open the file that libsndfile has opened.

    Parameters
    ----------
    source
        An mp3 file whose length header can be trusted.

    Returns
    -------
    GraphSource or None
        None where FFmpeg finds another length than libsndfile: it looks for the header, and for what the encoder put
        before the music, in fewer places. None, too, for a name that is not UTF-8, which a filter cannot be given.
    """
    try:
        with AvSource(source.path) as other:
            seen = (other.n_promised, other.sample_rate, other.n_channels)
        if seen != (source.n_samples, source.sample_rate, source.n_channels):
            return None
        return GraphSource(
            source.path, sample_rate=source.sample_rate, n_channels=source.n_channels, n_samples=source.n_samples
        )
    except (AudioError, av.error.FFmpegError, ValueError):
        return None


class GraphSource:
    """An mp3 file whose length is known.

    Parameters
    ----------
    path
        The file.
    sample_rate
        Of the file, in Hz.
    n_channels
        One or two.
    n_samples
        Length that the header promises.

    Attributes
    ----------
    warnings
        What was wrong; complete when the blocks have been read to the end.

    Raises
    ------
    av.error.FFmpegError
        When FFmpeg does not open it.
    UnicodeEncodeError
        When its name is not UTF-8.
    """

    def __init__(self, path: Path, *, sample_rate: int, n_channels: int, n_samples: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.n_samples = n_samples
        self.warnings: set[WarningCode] = set()
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        filters = [
            # the protocol is named because a file's own name may look like one
            self._graph.add("amovie", filename=f"file:{path}"),
            self._graph.add("pan", _MEAN_OF_CHANNELS[n_channels]),  # FFmpeg's own downmix is 3 dB too loud
            self._graph.add("aformat", sample_fmts="fltp"),
            self._graph.add("asetnsamples", n=str(BLOCK_SAMPLES), p="0"),
            self._graph.add("abuffersink"),
        ]
        self._graph.link_nodes(*filters).configure()
        self._sink = filters[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._sink, self._graph  # closes the file

    def blocks(self) -> Iterator[Waveform]:
        """Yield the whole file; where the graph stops before the promised end, at damage, `AvSource` goes on.

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
        while position < self.n_samples and (frame := self._pull()) is not None:
            n_samples = min(frame.samples, self.n_samples - position)
            # no look for impossible samples: FFmpeg's mp3 decoder holds 32-bit integers before it scales, below 1e10
            block = np.frombuffer(memoryview(frame.planes[0]), np.float32, n_samples)
            position += len(block)
            yield block
        yield from go_on(self.path, position=position, n_samples=self.n_samples, warnings=self.warnings)

    def _pull(self) -> av.AudioFrame | None:
        """Get the next block; None at the end, or at damage."""
        for _ in range(2):
            try:
                frame = self._sink.pull()
            except av.error.EOFError:
                return None
            except av.error.FFmpegError:  # the graph has stopped, and gives out what it holds the next time
                continue
            assert isinstance(frame, av.AudioFrame)
            return frame
        return None
