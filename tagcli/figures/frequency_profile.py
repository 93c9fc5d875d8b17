"""The picture of a frequency profile: the level of each band by weighting, as Fig. 8 of Choi et al. 2017."""

from typing import IO

from tagcli.analysis.frequency_profile import FrequencyProfile
from tagcli.figures.saving import check_drawable, save_figure

_DOTS_PER_INCH = 150
_SIZE = (8.0, 4.6)  # inches
_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


def draw_profile(profile: FrequencyProfile, file: IO[bytes], *, format_: str) -> None:
    """Draw mean levels over frequency, on a logarithmic axis in Hz.

    Parameters
    ----------
    profile
        What was found.
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
    for (weighting, levels), style in zip(profile.levels.items(), ("-", "--", "-."), strict=True):
        axes.plot(profile.centres_hz, levels, style, marker=".", markersize=4, label=weighting.value)
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    low, high = float(profile.centres_hz[0]), float(profile.centres_hz[-1])
    axes.set_xlim(0.9 * low, 1.1 * high)
    ticks = [tick for tick in _TICKS_HZ if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("centre of the mel band (Hz)")
    scaled = f", times {profile.scale:g}" if profile.scale != 1 else ""
    axes.set_ylabel(f"mean level (deviations of an excerpt{scaled})")
    axes.legend(title="weighting")
    axes.set_title(f"Mean level of the bands of {profile.front_end} over {profile.n_tracks} tracks")
    save_figure(figure, file, format_=format_)
