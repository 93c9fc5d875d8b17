"""What the pictures of a taggram share: the times on the axis, the colours of scores."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

COLOURS = ("#fbfcfd", "#b7d4e6", "#6fadd0", "#3680b5", "#184c87", "#0a1c45")
"""Of scores from 0 up, evenly spaced: the darker the higher, also in print and for whoever sees no hues."""
_STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_MOST_TICKS = 12
_SCORE_STEP = 0.05
_HOUR_SECONDS = 3600


def format_time(seconds: float, *, has_hours: bool = False) -> str:
    """Give a time as minutes:seconds, or as hours:minutes:seconds; what is less than a second is dropped."""
    whole = int(seconds)
    if has_hours:
        return f"{whole // _HOUR_SECONDS}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"


def has_hours(duration_seconds: float) -> bool:
    """Tell whether the times of a track are told with hours."""
    return duration_seconds >= _HOUR_SECONDS


def list_ticks(duration_seconds: float) -> list[int]:
    """Give round times for the axis, in seconds, at most a dozen of them."""
    steps = (step for step in _STEPS_SECONDS if duration_seconds / step < _MOST_TICKS)
    step = next(steps, math.ceil(duration_seconds / (_MOST_TICKS - 1)))
    return list(range(0, math.floor(duration_seconds) + 1, step))


def find_top(scores: npt.NDArray[np.float32]) -> float:
    """Give the score of the darkest colour: the highest one, rounded up to a twentieth."""
    highest = float(scores.max(initial=0.0))
    return min(1.0, max(1, math.ceil(highest / _SCORE_STEP - 1e-6)) * _SCORE_STEP)


def mix_colour(share: float) -> str:
    """Give the colour of a score.

    Parameters
    ----------
    share
        Of the highest score that has a colour, in [0, 1].
    """
    place = min(max(share, 0.0), 1.0) * (len(COLOURS) - 1)
    lower = min(int(place), len(COLOURS) - 2)
    weight = place - lower
    channels = zip(_parse_colour(COLOURS[lower]), _parse_colour(COLOURS[lower + 1]), strict=True)
    return "#" + "".join(f"{round(one + (other - one) * weight):02x}" for one, other in channels)


def _parse_colour(colour: str) -> Sequence[int]:
    return bytes.fromhex(colour.removeprefix("#"))
