"""How loud each mel band is on average, by the ways to weigh frequencies.

Source: Choi et al. 2017, section IV-D and Fig. 8.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tagcli.analysis.spectra import Spectrum, take_decibels
from tagcli.errors import CollectionError
from tagcli.features.config import FrontEndConfig
from tagcli.features.weighting import find_a_weighting, find_band_centres

Bands = npt.NDArray[np.float64]


class Weighting(StrEnum):
    """What is done to the bands before an excerpt is standardised."""

    PER_FREQUENCY = "per-frequency"
    A_WEIGHTING = "a-weighting"
    BYPASS = "bypass"


@dataclass(frozen=True, kw_only=True, eq=False)
class FrequencyProfile:
    """Mean level of each band over the excerpts of a collection, each of which was standardised after its weighting.

    Parameters
    ----------
    front_end
        Name of the front end.
    n_tracks
        Number of excerpts.
    scale
        Factor that the standardised values were multiplied by.
    centres_hz
        Where the bands lie [shape=(n_mels,)].
    levels
        By weighting [shape=(n_mels,) each], in standard deviations of an excerpt, times `scale`.
    """

    front_end: str
    n_tracks: int
    scale: float
    centres_hz: Bands
    levels: Mapping[Weighting, Bands]


def measure_profile(
    spectra: Iterable[Spectrum], config: FrontEndConfig, *, front_end: str, scale: float = 1.0
) -> FrequencyProfile:
    """Measure the mean level of each band, in decibels, under each weighting.

    Standardisation per frequency takes mean and deviation of a band over all excerpts, each of which counts once.
    A-weighting adds the curve of IEC 61672 at the bands' centres; bypass does nothing. After each of them an excerpt is
    standardised as a whole, so that how loud it is does not matter.

    Parameters
    ----------
    spectra
        Mel power of each excerpt [shape=(n_mels, n_frames) each].
    config, front_end
        How they were made, and what that is called.
    scale
        Factor of the standardised values; the paper's other choice is 10.

    Raises
    ------
    CollectionError
        When there is no spectrum.
    """
    maps = (take_decibels(power, config) for power in spectra)
    moments = [(decibels.mean(axis=1), decibels.var(axis=1)) for decibels in maps]
    if not moments:
        msg = "No track could be heard, so there is nothing to measure; give other files."
        raise CollectionError(msg)
    means, variances = np.stack(moments, axis=1)
    centre = means.mean(axis=0)
    deviation = np.sqrt((variances + (means - centre) ** 2).mean(axis=0))
    factor = 1.0 / np.where(deviation > 0, deviation, 1.0)
    weighted = {
        Weighting.PER_FREQUENCY: ((means - centre) * factor, variances * factor**2),
        Weighting.A_WEIGHTING: (means + find_a_weighting(config), variances),
        Weighting.BYPASS: (means, variances),
    }
    return FrequencyProfile(
        front_end=front_end,
        n_tracks=len(moments),
        scale=scale,
        centres_hz=find_band_centres(config),
        levels={weighting: scale * _average(*bands) for weighting, bands in weighted.items()},
    )


def _average(means: Bands, variances: Bands) -> Bands:
    """Standardise each excerpt, and take the mean level of each band over all of them.

    Parameters
    ----------
    means, variances
        Of the frames of each band of each excerpt [shape=(n_tracks, n_mels)].

    Returns
    -------
    numpy.ndarray
        [shape=(n_mels,)]
    """
    centred = means - means.mean(axis=1, keepdims=True)
    deviations = np.sqrt((variances + centred**2).mean(axis=1, keepdims=True))
    standardised: Bands = centred / np.where(deviations > 0, deviations, 1.0)
    return np.asarray(standardised.mean(axis=0))
