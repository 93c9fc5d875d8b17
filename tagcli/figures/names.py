"""Names beside points, each where there is room for it."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT_SIZE = 8.0  # pixels that a marker covers
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_SHIFTS = tuple((side, up) for up in (2, -9, 11, -18, 20, -27) for side in _SIDES)
"""Where a name may stand, by its alignment and its height above the point, the best place first."""
_GAP = 6  # printer's points between a point and its name


def name_points(figure: "Figure", axes: "Axes", names: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Write names beside points; to be called when everything else is drawn and the limits are set.

    Parameters
    ----------
    figure, axes
        Where the points are.
    names
        As they are: no formulas.
    x, y
        The points [shape=(n_points,) each]; nan where there is none.
    """
    from matplotlib.transforms import Bbox

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.draw_without_rendering()  # only then it is known where points lie on the paper
        frame = axes.get_window_extent()
        places = axes.transData.transform(np.column_stack((x, y)))
        taken = [Bbox([place - _POINT_SIZE / 2, place + _POINT_SIZE / 2]) for place in places]
        for name, across, up in zip(names, x, y, strict=True):
            label = axes.annotate(
                name, (across, up), textcoords="offset points", xytext=(0, 0), fontsize="small", parse_math=False
            )
            label.set_in_layout(False)
            for side, rise in _SHIFTS:
                label.set_horizontalalignment(side)
                label.set_position((_GAP if side == "left" else -_GAP, rise))
                box = label.get_window_extent()
                if frame.x0 <= box.x0 and box.x1 <= frame.x1 and not box.count_overlaps(taken):
                    break
            taken.append(label.get_window_extent())
