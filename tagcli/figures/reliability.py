"""The picture of reliability: systems by two ways to judge them, as Fig. 2 of Choi et al. 2017."""

import math
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from tagcli.analysis.reliability import Reliability
from tagcli.evaluation import Estimate
from tagcli.figures.names import name_points
from tagcli.figures.saving import check_drawable, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS_PER_INCH = 150
_SIZE = (10.0, 5.0)  # inches


def draw_reliability(found: Reliability, file: IO[bytes], *, format_: str) -> None:
    """Draw one point for each system, with 95 % intervals: few tags by both truths, and few tags against all.

    Parameters
    ----------
    found
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
    left, right = figure.subplots(1, 2)
    names = [areas.system for areas in found.systems]
    few = f"{len(found.tags)} tag{'s' if len(found.tags) > 1 else ''}"
    _draw_points(left, [(areas.by_truth, areas.by_annotation) for areas in found.systems])
    left.set_xlabel(f"ROC-AUC, {few}, ground truth")
    left.set_ylabel(f"ROC-AUC, {few}, re-annotation")
    left.set_title(f"ρ1 = {_tell(found.rho1)}, n = {found.n_annotated}")
    _draw_points(right, [(areas.few_tags, areas.all_tags) for areas in found.systems])
    right.set_xlabel(f"ROC-AUC, {few}, ground truth")
    right.set_ylabel(f"ROC-AUC, all {found.n_tags} tags, ground truth")
    right.set_title(f"ρ2 = {_tell(found.rho2)}, n = {found.n_examples}")
    figure.suptitle(f"{len(names)} systems on {found.dataset}", parse_math=False)
    for axes, x, y in ((left, "by_truth", "by_annotation"), (right, "few_tags", "all_tags")):
        places = [[getattr(areas, name).value for areas in found.systems] for name in (x, y)]
        name_points(figure, axes, names, *places)
    save_figure(figure, file, format_=format_)


def _draw_points(axes: "Axes", points: Sequence[tuple[Estimate, Estimate]]) -> None:
    """Draw systems as points with two intervals each."""
    for x, y in points:
        axes.plot([x.low, x.high], [y.value] * 2, color="0.7", linewidth=1.0)
        axes.plot([x.value] * 2, [y.low, y.high], color="0.7", linewidth=1.0)
    axes.plot([x.value for x, _ in points], [y.value for _, y in points], "o", color="tab:blue", markersize=5)
    axes.margins(0.15)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def _tell(estimate: Estimate) -> str:
    """Write a correlation with its interval, if it has one."""
    if math.isnan(estimate.low):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
