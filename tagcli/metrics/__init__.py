"""How well scores tell labels apart, or follow other scores, tag by tag, and how sure that is."""

from tagcli.metrics.correlation import correlate, rank
from tagcli.metrics.measures import (
    Mean,
    Measures,
    average_precision,
    macro,
    mean_over_tags,
    measure,
    measure_tags,
    micro_average_precision,
    micro_roc_auc,
    roc_auc,
)
from tagcli.metrics.proportions import count_effectively, wilson_interval
from tagcli.metrics.resampling import CONFIDENCE, Interval, bootstrap, draw_weights, interval, sign_p

__all__ = [
    "CONFIDENCE",
    "Interval",
    "Mean",
    "Measures",
    "average_precision",
    "bootstrap",
    "correlate",
    "count_effectively",
    "draw_weights",
    "interval",
    "macro",
    "mean_over_tags",
    "measure",
    "measure_tags",
    "micro_average_precision",
    "micro_roc_auc",
    "rank",
    "roc_auc",
    "sign_p",
    "wilson_interval",
]
