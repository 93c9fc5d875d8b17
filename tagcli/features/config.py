"""The front end's configuration: it travels in the checkpoint, so that whoever has the weights has the input."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Padding = Literal["constant", "reflect", "tensorflow_same", "theano_same"]
MelScale = Literal["slaney", "htk"]
MelNorm = Literal["slaney", "none"]
FilterBank = Literal["computed", "stored"]
DbReference = Literal["one", "clip_maximum"]
Normalisation = Literal["none", "clip", "batch_norm"]


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig:
    """Waveform to log-mel, every number that it takes.

    Parameters
    ----------
    sample_rate
        Rate of the waveform in Hz.
    n_fft, hop_length
        Length of the Hann window (periodic) and distance between frames, in samples.
    padding
        ``constant`` and ``reflect`` centre the frames (``n_fft // 2`` on both sides, zeros or mirrored: librosa's
        ``center=True``); ``tensorflow_same`` pads with zeros just enough for ``ceil(n_samples / hop_length)`` frames;
        ``theano_same`` makes as many, each centred one sample before those of ``constant``: Theano's convolution flips
        the window, whose first value is the only one without a partner.
    power
        Exponent of the magnitude: 2 for a power spectrogram.
    n_mels, fmin, fmax
        Number of mel bands, and their range in Hz.
    mel_scale, mel_norm
        Slaney or HTK scale; triangles of unit area (``slaney``) or of unit height (``none``).
    filter_bank
        ``computed`` from the numbers above, or ``stored`` among the checkpoint's tensors.
    db_reference
        What is 0 dB: 1, or the maximum of the clip.
    squares_mel
        Whether the mel bands are squared before the logarithm, as in Choi's code of 2016.
    amin
        Least power before the logarithm.
    dynamic_range_db
        How far below the clip's maximum values are kept, in dB; None for no floor.
    normalisation
        ``clip`` standardises each clip to mean 0 and variance 1 (Choi 2017); ``batch_norm`` is one scale and
        shift stored in the weights (Won 2020).

    Raises
    ------
    ValueError
        When a number is out of its range.
    """

    sample_rate: int
    n_fft: int = 512
    hop_length: int = 256
    padding: Padding = "constant"
    power: float = 2.0
    n_mels: int = 96
    fmin: float = 0.0
    fmax: float
    mel_scale: MelScale = "slaney"
    mel_norm: MelNorm = "slaney"
    filter_bank: FilterBank = "computed"
    db_reference: DbReference = "one"
    squares_mel: bool = False
    amin: float = 1e-10
    dynamic_range_db: float | None = None
    normalisation: Normalisation = "none"

    def __post_init__(self) -> None:
        counts = (self.sample_rate, self.n_fft, self.hop_length, self.n_mels)
        if min(counts) < 1 or not 0.0 <= self.fmin < self.fmax:
            msg = "sample rate, n_fft, hop length and number of mel bands are positive, and fmin is below fmax"
            raise ValueError(msg)
        if not (0.0 < self.power < math.inf and 0.0 < self.amin < math.inf):
            msg = "power and amin are positive numbers"
            raise ValueError(msg)

    def n_frames(self, n_samples: int) -> int:
        """Count the frames that a waveform of `n_samples` becomes."""
        if self.padding in ("tensorflow_same", "theano_same"):
            return -(-n_samples // self.hop_length)
        return 1 + (n_samples - self.n_fft % 2) // self.hop_length  # an odd n_fft loses a sample to n_fft // 2


FRONT_ENDS: Mapping[str, FrontEndConfig] = MappingProxyType(
    {
        "mel96-12k": FrontEndConfig(sample_rate=12_000, fmax=6_000.0, filter_bank="stored", normalisation="clip"),
        "mel96-16k": FrontEndConfig(
            sample_rate=16_000,
            padding="reflect",
            fmax=8_000.0,
            mel_scale="htk",
            mel_norm="none",
            filter_bank="stored",
            normalisation="batch_norm",
        ),
    }
)
"""Front ends by name: of Choi et al. 2017, standardised by clip; of Won et al. 2020, with a batch norm.

Their filter banks are stored, so that nobody who tags with the weights waits for librosa to compute one.
"""
