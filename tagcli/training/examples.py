"""Which examples a training learns from, and where their waveforms come from."""

import logging
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from tagcli.datasets import open_dataset
from tagcli.datasets.audio import DecodedAudio, ExampleAudio
from tagcli.datasets.clip_cache import ClipCache
from tagcli.datasets.clip_filling import CachePlan, CacheProgress, build_cache, plan_cache
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import make_splits
from tagcli.errors import TrainingError
from tagcli.training.recipe import Recipe
from tagcli.training.run_folder import DATASET

logger = logging.getLogger(__name__)


def open_split_dataset(
    source: Path, *, root: Path | None, folder: Path, resumes: bool, document: Mapping[str, Any] | None
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

    Raises
    ------
    DatasetError
        When the data set cannot be read or split.
    """
    manifest = open_dataset(source, root=root)
    if any(manifest.splits):
        return manifest
    if resumes and (folder / DATASET).is_file():
        return open_dataset(folder / DATASET, root=manifest.root)
    optimisation = (document or {}).get("optimisation", {})
    seed = optimisation.get("seed", 0) if isinstance(optimisation, Mapping) else 0
    apart = "artist" if any(manifest.artists) else "file (artists are not known)"
    logger.warning("%s has no splits; some were made, with no %s in two of them: %s.", source, apart, folder / DATASET)
    return make_splits(manifest, seed=seed if isinstance(seed, int) else 0)


def fill_cache(manifest: Manifest, recipe: Recipe, n_workers: int) -> Generator[CachePlan | CacheProgress, None, None]:
    """Decode what is not in the cache yet."""
    plan = plan_cache(manifest, sample_rate=recipe.front_end.sample_rate, max_seconds=recipe.data.cache_seconds)
    yield plan
    yield from build_cache(plan, n_workers=n_workers)


def open_audio(manifest: Manifest, recipe: Recipe) -> tuple[ExampleAudio, list[str]]:
    """Open the examples that can be heard; also why the others cannot.

    Raises
    ------
    TrainingError
        When none can.
    """
    sample_rate, seconds = recipe.front_end.sample_rate, recipe.data.cache_seconds
    if recipe.data.cache == "waveforms":
        missing = dict(ClipCache(manifest, sample_rate=sample_rate, max_seconds=seconds).missing)
    else:
        missing = {row: why for row in range(len(manifest)) if (why := _look(manifest.locate(row))) is not None}
    reasons = list(missing.values())
    if len(missing) == len(manifest):
        msg = f"No example of {manifest.name} can be heard ({reasons[0].rstrip('.')}); give --audio, or look by check."
        raise TrainingError(msg)
    if missing:
        manifest = manifest.take([row for row in range(len(manifest)) if row not in missing])
    if recipe.data.cache == "waveforms":
        return ClipCache(manifest, sample_rate=sample_rate, max_seconds=seconds), reasons
    return DecodedAudio(manifest, sample_rate=sample_rate, max_seconds=seconds), reasons


def _look(path: Path) -> str | None:
    """Say why a file cannot be heard, as far as a look at it tells."""
    try:
        return None if path.stat().st_size else f"{path} is empty"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
