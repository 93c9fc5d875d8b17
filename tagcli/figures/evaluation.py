"""The picture of an evaluation: every tag with its interval, best first."""

import math
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from tagcli.evaluation import Estimate, Evaluation
from tagcli.figures.saving import check_drawable, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEAD, _LINE = 9.0, 1.6, 0.19  # inches
_DOTS_PER_INCH = 150


def draw_evaluation(evaluation: Evaluation, file: IO[bytes], *, format_: str) -> None:
    """Draw ROC-AUC and PR-AUC of each tag, sorted by the former, with 95 % intervals and the macro means.

    Parameters
    ----------
    evaluation
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

    tags = sorted(
        (tag for tag in evaluation.per_tag if not math.isnan(tag.roc_auc.value)), key=lambda tag: tag.roc_auc.value
    )
    figure = Figure(figsize=(_WIDTH, _HEAD + _LINE * len(tags)), dpi=_DOTS_PER_INCH, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_points(left, [tag.roc_auc for tag in tags], evaluation.macro.roc_auc)
    left.axvline(0.5, color="0.7", linewidth=0.8, zorder=0)  # of scores that know nothing
    left.set_xlabel(f"ROC-AUC (macro {evaluation.macro.roc_auc.value:.3f})")
    _draw_points(right, [tag.pr_auc for tag in tags], evaluation.macro.pr_auc)
    shares = [tag.n_positive / (tag.n_positive + tag.n_negative) for tag in tags]
    right.plot(shares, range(len(tags)), "|", color="0.5")  # PR-AUC of scores that know nothing
    right.set_xlabel(f"PR-AUC (macro {evaluation.macro.pr_auc.value:.3f}); grey: share of positives")
    right.set_xlim(0, 1.02)
    names = [f"{tag.tag} ({tag.n_positive})" for tag in tags]
    left.set_yticks(range(len(tags)), names, fontsize="small", parse_math=False)
    left.set_ylim(-0.8, len(tags) - 0.2)
    split = f", {evaluation.split}" if evaluation.split else ""
    seen = " - seen data" if evaluation.is_seen else ""
    title = f"{evaluation.system} on {evaluation.dataset}{split}{seen} (n = {evaluation.n_examples})"
    figure.suptitle(title, parse_math=False)
    save_figure(figure, file, format_=format_)


def _draw_points(axes: "Axes", estimates: Sequence[Estimate], mean: Estimate) -> None:
    """Draw a point and its interval for each tag, and the mean as a line."""
    for place, estimate in enumerate(estimates):
        if not math.isnan(estimate.low):
            axes.plot([estimate.low, estimate.high], [place, place], color="tab:blue", linewidth=1.2)
    axes.plot([estimate.value for estimate in estimates], range(len(estimates)), "o", color="tab:blue", markersize=3.5)
    if not math.isnan(mean.value):
        axes.axvline(mean.value, color="tab:red", linewidth=1.0)
    if not math.isnan(mean.low):
        axes.axvspan(mean.low, mean.high, color="tab:red", alpha=0.12, linewidth=0)
