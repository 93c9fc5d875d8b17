"""The picture of tag noise: the area of each tag by its recall in the ground truth, coloured by kind."""

import math
from typing import IO

from tagcli.analysis.tag_noise import TagNoise
from tagcli.figures.names import name_points
from tagcli.figures.saving import check_drawable, save_figure
from tagcli.tags import Category

_DOTS_PER_INCH = 150
_WIDTH, _HEAD, _LINE = 10.0, 5.0, 0.07  # inches; many names want a high picture
_MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_noise(found: TagNoise, file: IO[bytes], *, format_: str) -> None:
    """Draw the tags whose recall is known, each with its name; the legend tells the means of the kinds.

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

    figure = Figure(figsize=(_WIDTH, _HEAD + _LINE * len(found.known)), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    means = {mean.category: mean for mean in found.categories}
    for colour, (category, marker) in enumerate(zip(Category, _MARKERS, strict=True)):
        members = [tag for tag in found.known if tag.category is category]
        if not members:
            continue
        mean = means[category]
        label = f"{category.value} (mean {mean.roc_auc:.3f} over {mean.n_tags})"
        recalls = [float(tag.recall or 0) for tag in members]
        axes.plot(recalls, [tag.roc_auc.value for tag in members], marker, color=f"C{colour}", label=label)
        for tag, recall in zip(members, recalls, strict=True):
            axes.plot([recall] * 2, [tag.roc_auc.low, tag.roc_auc.high], color=f"C{colour}", linewidth=0.8, alpha=0.6)
    axes.margins(0.12)
    axes.grid(color="0.92")
    axes.set_xlabel("recall of the ground truth (tagability)")
    axes.set_ylabel("ROC-AUC of the tag")
    axes.set_axisbelow(True)
    figure.legend(title="category", fontsize="small", loc="outside lower center", ncols=3)
    value, low, high = found.correlation.value, found.correlation.low, found.correlation.high
    bounds = "" if math.isnan(low) else f" ({low:.3f} to {high:.3f})"
    axes.set_title(f"{len(found.known)} tags: rank correlation {value:.3f}{bounds}")
    recalls = [float(tag.recall or 0) for tag in found.known]
    name_points(figure, axes, [tag.tag for tag in found.known], recalls, [tag.roc_auc.value for tag in found.known])
    save_figure(figure, file, format_=format_)
