"""Mel bands as the ear weighs them: where they lie, and how loud each is heard."""

import numpy as np
import numpy.typing as npt

from tagcli.features.config import FrontEndConfig

Bands = npt.NDArray[np.float64]


def find_band_centres(config: FrontEndConfig) -> Bands:
    """Find the centre of each mel band, in Hz [shape=(n_mels,)], ascending."""
    import librosa

    edges = librosa.mel_frequencies(
        n_mels=config.n_mels + 2, fmin=config.fmin, fmax=config.fmax, htk=config.mel_scale == "htk"
    )
    return np.asarray(edges[1:-1], dtype=np.float64)


def find_a_weighting(config: FrontEndConfig) -> Bands:
    """Compute the A-weighting of each mel band at its centre.

    Source: IEC 61672-1:2013, annex E; Choi et al. 2017, section IV-D.

    Returns
    -------
    numpy.ndarray
        To be added to decibels [shape=(n_mels,)], in dB; 0 at 1 kHz.
    """
    import librosa

    return np.asarray(librosa.A_weighting(find_band_centres(config), min_db=None), dtype=np.float64)
