"""What weights lack when they come, estimated of music: thresholds of tags, and statistics of batch norms."""

from tagcli.calibration.thresholds import (
    MIN_FOUND,
    NEVER,
    Calibration,
    TagThreshold,
    find_threshold,
    match_frequency,
    save_thresholds,
)

__all__ = [
    "MIN_FOUND",
    "NEVER",
    "Calibration",
    "TagThreshold",
    "find_threshold",
    "match_frequency",
    "save_thresholds",
]
