"""Where checkpoints lie on this machine: those that come with tagcli, and the user's own."""

import logging
from pathlib import Path

import platformdirs

from tagcli.checkpoint import read_header
from tagcli.errors import CheckpointError
from tagcli.weights.entries import CatalogueEntry

logger = logging.getLogger(__name__)

SUFFIX = ".safetensors"


def weights_folder() -> Path:
    """Say where the user's weights lie; ``pull`` and ``import`` create the folder."""
    return platformdirs.user_data_path("tagcli") / "weights"


def bundled_folder() -> Path:
    """Say where the weights lie that come with tagcli: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "bundled"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "weights"


def bundled_checkpoints() -> dict[str, Path]:
    """Index the checkpoints that come with tagcli by their names."""
    return _checkpoints(bundled_folder())


def cached_checkpoints() -> dict[str, Path]:
    """Index the checkpoints of the user's weights folder by their names."""
    return _checkpoints(weights_folder())


def cached_place(name: str) -> Path:
    """Say where the checkpoint of that name lies in the user's weights folder, or would lie."""
    return weights_folder() / f"{name}{SUFFIX}"


def published_checkpoint(entry: CatalogueEntry) -> Path | None:
    """Find the checkpoint of a catalogue entry in the weights folder.

    A file that is damaged, of another format version or made from other bytes is as good as none: it will be fetched
    again.
    """
    path = cached_place(entry.name)
    if not path.is_file():
        return None
    try:
        is_published = read_header(path).provenance.source_sha256 == entry.sha256
    except CheckpointError as error:
        logger.warning("%s", error)
        return None
    if not is_published:
        logger.warning("%s does not hold the published weights of its name; it is passed over.", path)
    return path if is_published else None


def _checkpoints(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()}
