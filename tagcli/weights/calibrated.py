"""Weights whose batch norms have no statistics yet: known by their header, refused where scores are to be believed."""

from pathlib import Path

from tagcli.checkpoint import CheckpointHeader
from tagcli.errors import WeightsError
from tagcli.models.config import ConvNetConfig
from tagcli.weights.places import cached_place


def is_calibrated(header: CheckpointHeader) -> bool:
    """Tell whether a network brings its batch-norm statistics along, or takes those of each clip."""
    architecture = header.architecture
    return not (isinstance(architecture, ConvNetConfig) and architecture.batch_norm_statistics == "clip")


def calibrated_name(header: CheckpointHeader) -> str:
    """Say what a checkpoint is called once it is calibrated, unless the user calls it otherwise."""
    return f"{header.name}-calibrated"


def how_to_calibrate(header: CheckpointHeader, path: Path) -> str:
    """Give the command that estimates what is missing."""
    name = header.name if path == cached_place(header.name) else path
    return f"tagcli weights calibrate {name} FOLDER"


def require_calibrated(header: CheckpointHeader, path: Path) -> None:
    """Refuse a checkpoint that was never calibrated.

    Parameters
    ----------
    header, path
        The checkpoint.

    Raises
    ------
    WeightsError
        When its batch norms have no statistics of their own.
    """
    if not is_calibrated(header):
        msg = (
            f"{header.name} was published without the statistics of its batch norms, so that its scores mean little; "
            f"run `{how_to_calibrate(header, path)}` with a folder of varied music once, then use "
            f"{calibrated_name(header)}."
        )
        raise WeightsError(msg, path=path)
