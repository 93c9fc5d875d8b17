"""Data sets: one reader for each published format, one manifest for all of them."""

from pathlib import Path

from tagcli.datasets.manifest import Manifest
from tagcli.datasets.manifest_file import read_manifest

__all__ = ["Manifest", "open_dataset"]


def open_dataset(source: Path, *, root: Path | None = None) -> Manifest:
    """Read a data set, whatever its form.

    Parameters
    ----------
    source
        A manifest.
    root
        Folder that the audio is in, in place of what the data set says.

    Raises
    ------
    DatasetError
        When it cannot be read, or is of no known form.
    """
    return read_manifest(source, root=root)
