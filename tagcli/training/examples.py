"""Which examples a training learns from: those of a data set, with its splits."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tagcli.datasets import open_dataset
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import make_splits
from tagcli.evaluation.agreement import clear_labels
from tagcli.training.run_folder import DATASET

logger = logging.getLogger(__name__)


def open_split_dataset(
    source: Path,
    *,
    root: Path | None,
    folder: Path,
    resumes: bool,
    document: Mapping[str, Any] | None,
    wants_labels: bool = True,
) -> Manifest:
    """Read a data set for a training; one without splits gets some, with no artist in two of them.

    Parameters
    ----------
    source, root
        See `tagcli.datasets.open_dataset`.
    folder
        The run; when it is gone on with, it knows the splits that were made.
    resumes
        Whether it is.
    document
        The recipe: its seed chooses the splits.
    wants_labels
        Whether labels are learned, and not what teachers say.

    Raises
    ------
    DatasetError
        When the data set cannot be read or split.
    """
    manifest = open_dataset(source, root=root, wants_labels=wants_labels)
    if any(manifest.splits):
        return manifest
    if resumes and (folder / DATASET).is_file():
        return open_dataset(folder / DATASET, root=manifest.root)
    optimisation = (document or {}).get("optimisation", {})
    seed = optimisation.get("seed", 0) if isinstance(optimisation, Mapping) else 0
    apart = "artist" if any(manifest.artists) else "file (artists are not known)"
    logger.warning("%s has no splits; some were made, with no %s in two of them: %s.", source, apart, folder / DATASET)
    return make_splits(manifest, seed=seed if isinstance(seed, int) else 0)


def forget_labels(manifest: Manifest, tags: Sequence[str]) -> Manifest:
    """Take the vocabulary of teachers, of which nothing is known yet."""
    cleared = clear_labels(manifest, tags)
    return replace(cleared, known=np.zeros_like(cleared.known))
