"""The picture of histograms: all of them over one another, as Fig. 6 of Choi et al. 2017."""

from collections.abc import Sequence
from typing import IO

from tagcli.analysis.histogram import EDGES, HIGHEST, LOWEST, Compression, Histogram
from tagcli.figures.saving import check_drawable, save_figure

_DOTS_PER_INCH = 150
_SIZE = (8.0, 4.6)  # inches
_STYLES = {Compression.DECIBELS: "-", Compression.LINEAR: "--"}


def draw_histograms(histograms: Sequence[Histogram], file: IO[bytes], *, format_: str) -> None:
    """Draw the densities of standardised values.

    Parameters
    ----------
    histograms
        One colour for each front end; decibels solid, linear values dashed.
    file
        Where the picture goes.
    format_
        One of `tagcli.figures.saving.FORMATS`.

    Raises
    ------
    OutputError
        When matplotlib is not installed.
    """
    check_drawable()
    from matplotlib.figure import Figure  # without pyplot: no windows, and no state that outlives the picture

    figure = Figure(figsize=_SIZE, dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(histogram.front_end for histogram in histograms))
    for histogram in histograms:
        colour = f"C{names.index(histogram.front_end)}"
        label = f"{histogram.front_end}, {histogram.compression.value}: skewness {histogram.skewness:.2f}"
        label += f", kurtosis {histogram.kurtosis:.2f}"
        axes.stairs(histogram.density, EDGES, color=colour, linestyle=_STYLES[histogram.compression], label=label)
        if histogram.compression is Compression.DECIBELS:
            axes.stairs(histogram.density, EDGES, color=colour, fill=True, alpha=0.15)
    axes.set_xlim(LOWEST, HIGHEST)
    axes.set_yscale("log")
    axes.set_ylim(1e-4, None)
    axes.set_xlabel("standardised value of a time-frequency bin (deviations of its excerpt)")
    axes.set_ylabel("density (logarithmic)")
    axes.legend(fontsize="small")
    axes.set_title(f"Mel spectra of {histograms[0].n_tracks} tracks, with and without log compression")
    save_figure(figure, file, format_=format_)
