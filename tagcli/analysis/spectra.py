"""The mel spectra that the spectral analyses are made of: the middle of each track, before any compression."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tagcli.audio.excerpts import read_excerpt
from tagcli.audio.reading import MIN_TRACK_SECONDS
from tagcli.errors import AudioError, FailureCode
from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel

logger = logging.getLogger(__name__)

Spectrum = npt.NDArray[np.float64]


def read_spectra(
    tracks: Iterable[Path],
    front_end: FrontEndConfig,
    *,
    max_seconds: float,
    on_failure: Callable[[AudioError], None],
    on_track: Callable[[], object] = lambda: None,
) -> Iterator[Spectrum]:
    """Compute the mel power of the middle of each track; silent tracks are left out.

    Parameters
    ----------
    tracks
        Files.
    front_end
        STFT and mel bands; what it does with them afterwards is left out.
    max_seconds
        How much of a track is heard, at most.
    on_failure
        Told of each track that cannot be heard.
    on_track
        Called after each track.

    Yields
    ------
    numpy.ndarray
        [shape=(n_mels, n_frames)], from 0 up.
    """
    plain = replace(front_end, filter_bank="computed", normalisation="none")
    log_mel = LogMel(plain)
    for path in tracks:
        try:
            waveform = read_excerpt(path, plain.sample_rate, max_seconds=max_seconds)
            if len(waveform) < MIN_TRACK_SECONDS * plain.sample_rate:
                msg = f"{path} is shorter than {MIN_TRACK_SECONDS:g} s; leave it out."
                raise AudioError(msg, path=path, code=FailureCode.TOO_SHORT)
        except AudioError as error:
            on_failure(error)
        else:
            with torch.inference_mode():
                power = log_mel.mel_power(torch.from_numpy(waveform)[None])[0].numpy().astype(np.float64)
            if power.max() > plain.amin:
                yield power
            else:
                logger.warning("%s is silent and left out.", path)
        on_track()


def take_decibels(power: Spectrum, front_end: FrontEndConfig) -> Spectrum:
    """Compress a mel map, as the front end does, without a reference: 1 is 0 dB."""
    return np.asarray(10.0 * np.log10(np.maximum(power, front_end.amin)))
