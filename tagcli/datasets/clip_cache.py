"""The waveforms of a data set out of their cache.

Each is kept as 16-bit integers of its own scale, whatever the model: front ends run on the device. It is known by its
excerpt, not by its row, so that one cache serves every manifest over the same audio.
"""

import hashlib
import math
import os
from pathlib import Path

import numpy as np

from tagcli.audio.sources import Waveform
from tagcli.datasets.audio import check_part
from tagcli.datasets.clip_index import (
    DATA_NAME,
    SAMPLE_TYPE,
    CacheSettings,
    ExcerptKey,
    Samples,
    compute_crc,
    damaged,
    read_index,
    translated,
)
from tagcli.datasets.kept_audio import folder_of
from tagcli.datasets.manifest import Manifest
from tagcli.errors import AudioError, FailureCode

MAX_SECONDS = 60.0
_FULL_SCALE = 32_767
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # float32 is coarse below


class ClipCache:
    """Gives the waveforms of a data set out of their cache; an `ExampleAudio`.

    It is taken as it is, without a look at the audio files: `plan_cache` and `build_cache` bring it up to date.

    Parameters
    ----------
    manifest
        The data set.
    sample_rate
        In Hz.
    max_seconds
        Of a longer excerpt only so much is kept, from its middle.
    folder
        The cache; None for the one in the user's cache folder.

    Attributes
    ----------
    missing
        Why there is no waveform, by row: one sentence each.

    Raises
    ------
    DatasetError
        When the cache is damaged, cannot be read or was made for something else; also when a waveform is first read.
    """

    def __init__(
        self, manifest: Manifest, *, sample_rate: int, max_seconds: float = MAX_SECONDS, folder: Path | None = None
    ) -> None:
        settings = settings_for(manifest, sample_rate=sample_rate, max_seconds=max_seconds)
        self.manifest = manifest
        self.sample_rate = sample_rate
        self.folder = folder or default_cache_folder(settings)
        self.missing: dict[int, str] = {}
        self._codes: dict[int, FailureCode] = {}
        records = read_index(self.folder, settings).records
        n_rows = len(manifest)
        self._offsets = np.zeros(n_rows, dtype=np.int64)
        self._lengths = np.zeros(n_rows, dtype=np.int64)
        self._scales = np.zeros(n_rows, dtype=np.float32)
        self._crcs = np.zeros(n_rows, dtype=np.uint32)
        self._is_checked = np.zeros(n_rows, dtype=np.bool_)
        for row in range(n_rows):
            record = records.get(key_of(manifest, row))
            if record is None:
                self.missing[row] = f"{manifest.locate(row)} is not in the cache {self.folder} yet; let it be filled."
                self._codes[row] = FailureCode.MISSING
            elif not record.n_samples:
                self.missing[row], self._codes[row] = record.message, FailureCode(record.code)
            else:
                self._offsets[row], self._lengths[row] = record.offset, record.n_samples
                self._scales[row], self._crcs[row] = record.scale, record.crc32
        self._samples = _map_samples(self.folder)

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        if row in self.missing:
            raise AudioError(self.missing[row], path=self.manifest.locate(row), code=self._codes[row])
        return int(self._lengths[row])

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        return self.read_part(row, 0, self.n_samples(row))

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """See `ExampleAudio.read_part`."""
        check_part(start, n_samples, self.n_samples(row))
        if not self._is_checked[row]:
            self._check(row)
        first = int(self._offsets[row]) + start
        waveform: Waveform = np.multiply(self._samples[first : first + n_samples], self._scales[row], dtype=np.float32)
        return waveform

    def identify(self, row: int) -> str:
        """Say which waveform an example's is, whatever its file is called: a text that another one does not have."""
        return f"{self.sample_rate} {self.n_samples(row)} {float(self._scales[row])!r} {self._crcs[row]:08x}"

    def _check(self, row: int) -> None:
        """Compare the samples with their CRC-32; once is enough, as nothing in the file is ever written over."""
        first = int(self._offsets[row])
        samples = self._samples[first : first + int(self._lengths[row])]
        if compute_crc(samples) != self._crcs[row]:
            raise damaged(self.folder, f"the samples of {self.manifest.paths[row]} are not those that were written")
        self._is_checked[row] = True


def settings_for(manifest: Manifest, *, sample_rate: int, max_seconds: float) -> CacheSettings:
    """Say what the cache of a data set is for."""
    return CacheSettings(root=str(manifest.root.resolve()), sample_rate=sample_rate, max_seconds=float(max_seconds))


def default_cache_folder(settings: CacheSettings) -> Path:
    """Say where a cache lies in the user's cache folder."""
    name = f"{settings.sample_rate}\0{settings.max_seconds}\0".encode() + os.fsencode(settings.root)
    return folder_of("clips") / hashlib.sha256(name).hexdigest()[:16]


def key_of(manifest: Manifest, row: int) -> ExcerptKey:
    """Say which excerpt an example is."""
    duration = float(manifest.durations_seconds[row])
    return ExcerptKey(
        path=manifest.paths[row],
        start_seconds=float(manifest.starts_seconds[row]),
        duration_seconds=None if math.isnan(duration) else duration,
    )


def quantise(waveform: Waveform) -> tuple[Samples, float]:
    """Make a waveform into 16-bit integers and their scale, the largest sample over 32767.

    Parameters
    ----------
    waveform
        [shape=(n_samples,)], finite.

    Returns
    -------
    samples, scale
        [shape=(n_samples,)], and what they are multiplied with; no sample is off by more than half of it.
    """
    scale = float(np.float32(np.max(np.abs(waveform)) / _FULL_SCALE))
    if scale < _SMALLEST_SCALE:  # silence
        return np.zeros(len(waveform), dtype=SAMPLE_TYPE), 0.0
    return np.rint(waveform.astype(np.float64) / scale).astype(SAMPLE_TYPE), scale


def _map_samples(folder: Path) -> Samples:
    """Map the file of samples, if there is one, into memory."""
    path = folder / DATA_NAME
    with translated(folder):
        if not path.exists() or path.stat().st_size < SAMPLE_TYPE.itemsize:
            return np.empty(0, dtype=SAMPLE_TYPE)
        n_samples = path.stat().st_size // SAMPLE_TYPE.itemsize  # one that is just being written may be cut in two
        return np.asarray(np.memmap(path, dtype=SAMPLE_TYPE, mode="r", shape=(n_samples,)))
