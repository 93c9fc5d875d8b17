"""How the standardised values of time-frequency bins are distributed, in decibels and on a linear scale.

Source: Choi et al. 2017, section IV-C and Fig. 6.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tagcli.analysis.spectra import Spectrum, take_decibels
from tagcli.errors import CollectionError
from tagcli.features.config import FrontEndConfig

LOWEST, HIGHEST, BAR_WIDTH = -5.0, 10.0, 0.1  # standard deviations
N_BARS = round((HIGHEST - LOWEST) / BAR_WIDTH)
EDGES = np.linspace(LOWEST, HIGHEST, N_BARS + 1)
"""Bounds of the bars [shape=(N_BARS + 1,)], in standard deviations of an excerpt."""


class Compression(StrEnum):
    """What a mel power becomes."""

    DECIBELS = "dB"
    LINEAR = "linear"


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """How values are distributed that were standardised excerpt by excerpt.

    Parameters
    ----------
    front_end, compression
        How the values were made.
    n_tracks, n_values
        How many there are.
    density
        Share of the values in each bar, by its width [shape=(N_BARS,)]; those beyond the bars are in none.
    share_below, share_above
        Of the values beyond the bars.
    lowest, highest
        Extreme values, in standard deviations.
    skewness
        Third standardised moment; 0 of what is symmetric.
    kurtosis
        Fourth standardised moment less 3; 0 of a normal distribution.
    """

    front_end: str
    compression: Compression
    n_tracks: int
    n_values: int
    density: npt.NDArray[np.float64]
    share_below: float
    share_above: float
    lowest: float
    highest: float
    skewness: float
    kurtosis: float


def measure_histograms(spectra: Iterable[Spectrum], config: FrontEndConfig, *, front_end: str) -> tuple[Histogram, ...]:
    """Measure the histograms of both compressions.

    Parameters
    ----------
    spectra
        Mel power of each excerpt [shape=(n_mels, n_frames) each].
    config, front_end
        How they were made, and what that is called.

    Returns
    -------
    tuple of Histogram
        In decibels, and linear.

    Raises
    ------
    CollectionError
        When there is no spectrum.
    """
    sums = {compression: _Sums() for compression in Compression}
    for power in spectra:
        sums[Compression.DECIBELS].add(take_decibels(power, config))
        sums[Compression.LINEAR].add(power)
    if not sums[Compression.LINEAR].n_tracks:
        msg = "No track could be heard, so there is nothing to count; give other files."
        raise CollectionError(msg)
    return tuple(each.end(front_end, compression) for compression, each in sums.items())


class _Sums:
    """What is kept of the excerpts that have been counted."""

    def __init__(self) -> None:
        self.n_tracks = 0
        self._n_values = self._n_below = self._n_above = 0
        self._counts = np.zeros(N_BARS, dtype=np.int64)
        self._cubes = self._fourths = 0.0
        self._lowest, self._highest = np.inf, -np.inf

    def add(self, values: Spectrum) -> None:
        """Count an excerpt; standardised, so that its mean is 0 and its variance 1."""
        standardised = (values - values.mean()) / (values.std() or 1.0)
        self.n_tracks += 1
        self._n_values += standardised.size
        self._counts += np.histogram(standardised, EDGES)[0]
        self._n_below += int(np.count_nonzero(standardised < EDGES[0]))
        self._n_above += int(np.count_nonzero(standardised > EDGES[-1]))
        squares = standardised * standardised
        self._cubes += float((squares * standardised).sum())
        self._fourths += float((squares * squares).sum())
        self._lowest = min(self._lowest, float(standardised.min()))
        self._highest = max(self._highest, float(standardised.max()))

    def end(self, front_end: str, compression: Compression) -> Histogram:
        """Conclude. As each excerpt has mean 0 and variance 1, so have all together."""
        return Histogram(
            front_end=front_end,
            compression=compression,
            n_tracks=self.n_tracks,
            n_values=self._n_values,
            density=self._counts / (self._n_values * BAR_WIDTH),
            share_below=self._n_below / self._n_values,
            share_above=self._n_above / self._n_values,
            lowest=self._lowest,
            highest=self._highest,
            skewness=self._cubes / self._n_values,
            kurtosis=self._fourths / self._n_values - 3.0,
        )
