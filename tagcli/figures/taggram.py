"""The picture of a taggram: scores over time of one track, a row for each tag."""

from typing import IO

import numpy as np

from tagcli.figures.saving import check_drawable, save_figure
from tagcli.figures.taggram_scales import COLOURS, find_top, format_time, has_hours, list_ticks
from tagcli.tagger.taggram import Taggram

_WIDTH, _HEAD, _LINE = 11.0, 1.5, 0.28  # inches
_DOTS_PER_INCH = 150
_MOST_CHARACTERS = 100  # of the title that fit into the width


def draw_taggram(taggram: Taggram, file: IO[bytes], *, format_: str, title: str, caption: str) -> None:
    """Draw the scores of each tag over time as colours.

    Parameters
    ----------
    taggram
        What was heard; the first tag comes on top.
    file
        Where the picture goes.
    format_
        One of `tagcli.figures.saving.FORMATS`.
    title
        Names the track.
    caption
        One line below the title: who has listened, and how.

    Raises
    ------
    OutputError
        When matplotlib is not installed.
    """
    check_drawable()
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure  # without pyplot: no windows, and no state that outlives the picture

    n_tags = len(taggram.tags)
    figure = Figure(figsize=(_WIDTH, _HEAD + _LINE * n_tags), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    cells = axes.pcolormesh(
        taggram.edges_seconds,
        np.arange(n_tags + 1) - 0.5,
        taggram.scores.T,
        cmap=LinearSegmentedColormap.from_list("scores", COLOURS),
        vmin=0.0,
        vmax=find_top(taggram.scores),
        rasterized=True,  # else a vector picture of a long mix has a path for each of its cells
    )
    axes.invert_yaxis()
    axes.set_yticks(range(n_tags), taggram.tags, parse_math=False)
    for between in range(1, n_tags):
        axes.axhline(between - 0.5, color="white", linewidth=1.2)
    is_long = has_hours(taggram.duration_seconds)
    ticks = list_ticks(taggram.duration_seconds)
    axes.set_xticks(ticks, [format_time(tick, has_hours=is_long) for tick in ticks])
    axes.set_xlim(0, taggram.duration_seconds)
    axes.set_xlabel("time (hours:minutes:seconds)" if is_long else "time (minutes:seconds)")
    figure.colorbar(cells, ax=axes, label="score (0 to 1)", pad=0.01, fraction=0.03)
    axes.set_title(caption, fontsize="small", color="0.35", loc="left", parse_math=False)
    figure.suptitle(_shorten(title), parse_math=False)
    save_figure(figure, file, format_=format_)


def _shorten(title: str) -> str:
    return title if len(title) <= _MOST_CHARACTERS else title[: _MOST_CHARACTERS - 1] + "…"
