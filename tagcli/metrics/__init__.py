"""How well scores tell labels apart, tag by tag, and how sure that is."""

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
from tagcli.metrics.resampling import CONFIDENCE, Interval, bootstrap, interval, sign_p

__all__ = [
    "CONFIDENCE",
    "Interval",
    "Mean",
    "Measures",
    "average_precision",
    "bootstrap",
    "interval",
    "macro",
    "mean_over_tags",
    "measure",
    "measure_tags",
    "micro_average_precision",
    "micro_roc_auc",
    "roc_auc",
    "sign_p",
]
