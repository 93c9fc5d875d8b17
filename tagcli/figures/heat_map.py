"""The picture of a number for each pair of tags: the colour and, where it is legible, the number itself."""

from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagcli.figures.saving import check_drawable, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_CELL, _MARGIN, _LEAST = 0.34, 2.5, 4.5  # inches
_DOTS_PER_INCH = 150
_MOST_NUMBERED_TAGS = 40
_LONGEST_NAME = 30
_UNDEFINED = "0.88"  # light grey
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
_DARK = 0.5  # luminance of a cell on which white is legible


@dataclass(frozen=True, kw_only=True, eq=False)
class HeatMap:
    """What is drawn.

    Parameters
    ----------
    title
        Above the map.
    tags
        Of the rows from the top, and of the columns.
    kinds
        What kind of word each tag is, parallel to the tags: between two kinds is a line.
    values
        [shape=(n_tags, n_tags)]; nan where there is none.
    row_name, column_name
        What the tags of rows and columns are; nothing when there is no difference.
    scale_name
        What the values are, and in which unit.
    low, high
        The ends of the colour scale. From 0 it is one colour, the darker the higher; from below it is two, white at 0.
    number_format
        Of the numbers in the cells, as in ``.2f``.
    """

    title: str
    tags: tuple[str, ...]
    kinds: tuple[str, ...]
    values: npt.NDArray[np.float64]
    row_name: str
    column_name: str
    scale_name: str
    low: float
    high: float
    number_format: str


def draw_heat_map(heat_map: HeatMap, file: IO[bytes], *, format_: str) -> None:
    """Draw a number for each pair of tags.

    Parameters
    ----------
    heat_map
        The numbers, and what they are.
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
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # without pyplot: no windows, and no state that outlives the picture

    n_tags = len(heat_map.tags)
    side = max(_LEAST, _MARGIN + _CELL * n_tags)
    figure = Figure(figsize=(side + 1, side), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    colours = colormaps["Blues" if heat_map.low >= 0 else "RdBu_r"].with_extremes(bad=_UNDEFINED)
    image = axes.imshow(heat_map.values, cmap=colours, vmin=heat_map.low, vmax=heat_map.high)
    names = [tag if len(tag) <= _LONGEST_NAME else f"{tag[: _LONGEST_NAME - 1]}…" for tag in heat_map.tags]
    axes.set_xticks(range(n_tags), names, rotation=90, parse_math=False)
    axes.set_yticks(range(n_tags), names, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel(heat_map.column_name)
    axes.set_ylabel(heat_map.row_name)
    for place, (kind, next_kind) in enumerate(pairwise(heat_map.kinds)):
        if kind != next_kind:
            axes.axhline(place + 0.5, color="0.2", linewidth=0.8)
            axes.axvline(place + 0.5, color="0.2", linewidth=0.8)
    if n_tags <= _MOST_NUMBERED_TAGS:
        _write_numbers(axes, image, heat_map)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.02)
    bar.set_label(heat_map.scale_name)
    figure.suptitle(heat_map.title, parse_math=False)
    save_figure(figure, file, format_=format_)


def _write_numbers(axes: "Axes", image: "AxesImage", heat_map: HeatMap) -> None:
    """Write each value into its cell, in a colour that can be read on the cell's."""
    luminances = image.to_rgba(heat_map.values)[..., :3] @ _LUMINANCE
    for row, column in np.argwhere(~np.isnan(heat_map.values)).tolist():
        text = f"{heat_map.values[row, column]:{heat_map.number_format}}"
        ink = "white" if luminances[row, column] < _DARK else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
