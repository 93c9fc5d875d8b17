"""One training from its data set to its run folder: what `tagcli train` and `tagcli finetune` have in common."""

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from tagcli import __version__
from tagcli.checkpoint import CheckpointHeader, Provenance, hash_artists, read_header
from tagcli.datasets import open_dataset
from tagcli.datasets.audio import DecodedAudio, ExampleAudio
from tagcli.datasets.clip_cache import ClipCache
from tagcli.datasets.clip_filling import CachePlan, CacheProgress, build_cache, plan_cache
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.manifest_file import write_manifest
from tagcli.datasets.splits import make_splits
from tagcli.errors import TrainingError
from tagcli.tagger.device import choose_device, prepare_device
from tagcli.tagger.pipeline import count_cores
from tagcli.training.beginning import begin_fresh, begin_from, transfer_tables
from tagcli.training.holdout import Judgement, judge
from tagcli.training.loop import EpochReport, Lesson, StepReport, train
from tagcli.training.ranks import Ranks
from tagcli.training.recipe import Recipe, read_document, resolve_recipe
from tagcli.training.run_folder import RunFolder
from tagcli.weights.vocabularies import describe_tags

logger = logging.getLogger(__name__)

DATASET = "dataset.tsv"


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What is about to be learned.

    Parameters
    ----------
    recipe
        Every number.
    n_train, n_validation
        Examples that can be heard.
    n_missing
        Examples that cannot, and are left out.
    first_missing
        Why the first of them cannot.
    device
        Where it is learned.
    """

    recipe: Recipe
    n_train: int
    n_validation: int
    n_missing: int
    first_missing: str | None
    device: str


Report: TypeAlias = CachePlan | CacheProgress | Beginning | StepReport | EpochReport | Judgement


def run_training(
    manifest: Manifest,
    document: Mapping[str, Any],
    *,
    place: str,
    folder: Path,
    resumes: bool,
    device_name: str = "auto",
    source: Path | None = None,
    keeps_worse: bool = False,
    n_workers: int | None = None,
) -> Generator[Report, None, None]:
    """Train on a data set.

    Parameters
    ----------
    manifest
        The data set, with its splits.
    document
        The recipe as it was given; see `tagcli.training.recipe.resolve_recipe`. When a training is gone on with, the
        run's own takes its place.
    place
        What the document is, for messages.
    folder
        Where everything goes; see `tagcli.training.run_folder.RunFolder`.
    resumes
        Whether to go on with what the folder holds; there may be nothing yet.
    device_name
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    source
        A checkpoint to begin with; None for fresh weights.
    keeps_worse
        Whether weights that are worse than the checkpoint's on the hold-out stay the run's best ones.
    n_workers
        Threads that decode and read; None for one for each core.

    Yields
    ------
    Report
        As it goes: what the cache will take, how it fills, what is about to be learned, steps and epochs.

    Raises
    ------
    TrainingError, DatasetError, CheckpointError, DeviceError
        When something does not fit, is damaged or cannot be written.
    """
    ranks, run = Ranks.from_environment(), RunFolder(folder)
    n_workers = n_workers or count_cores()
    device = _choose_device(device_name, ranks)
    if resumes and run.has_begun:
        document, place = read_document(run.config), f"The recipe {run.config}"
    elif source is not None:
        document = _add_transfer(document, source, place)
    recipe = resolve_recipe(document, n_tags=len(manifest.tags), place=place)
    ranks.join(device)
    try:
        if not (resumes and run.has_begun):
            ranks.share(lambda: _begin_folder(run, recipe, manifest, device, ranks))
        chosen = manifest.select(*recipe.data.train, *recipe.data.validation)
        if recipe.data.cache == "waveforms":
            if ranks.is_first:
                yield from _fill_cache(chosen, recipe, n_workers)
            ranks.share(lambda: None)
        train_audio, n_missing, first = _open_audio(chosen.select(*recipe.data.train), recipe)
        validation_audio = None
        if recipe.data.validation:
            validation_audio, n_more, other = _open_audio(chosen.select(*recipe.data.validation), recipe)
            n_missing, first = n_missing + n_more, first or other
        yield Beginning(
            recipe=recipe,
            n_train=len(train_audio.manifest),
            n_validation=len(validation_audio.manifest) if validation_audio else 0,
            n_missing=n_missing,
            first_missing=first,
            device=str(device),
        )
        header = _make_header(run, recipe, manifest, train_audio.manifest, source)
        learner = begin_fresh(header, recipe) if source is None else begin_from(source, header, recipe)
        lesson = Lesson(
            recipe=recipe,
            header=header,
            train=train_audio,
            validation=validation_audio,
            fingerprint=manifest.fingerprint,
        )
        yield from train(lesson, learner.to(device), folder=run, device=device, ranks=ranks, n_workers=n_workers)
        if source is not None and ranks.is_first:
            yield from _judge(run, source, manifest, recipe, device, n_workers, keeps_worse=keeps_worse)
    finally:
        ranks.leave()


def open_split_dataset(
    source: Path, *, root: Path | None, folder: Path, resumes: bool, document: Mapping[str, Any]
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
    seed = document.get("optimisation", {}).get("seed", 0)
    logger.warning("%s has no splits; some were made, with no artist in two of them: %s.", source, folder / DATASET)
    return make_splits(manifest, seed=seed if isinstance(seed, int) else 0)


def _judge(
    run: RunFolder,
    source: Path,
    manifest: Manifest,
    recipe: Recipe,
    device: torch.device,
    n_workers: int,
    *,
    keeps_worse: bool,
) -> Generator[Report, None, None]:
    """Compare the weights with those that the training began with, and put worse ones aside."""
    if not run.best.is_file():  # judged and put aside before
        return
    judgement = judge(run, source, manifest, recipe, device=device, n_workers=n_workers)
    if judgement is None:
        return
    if judgement.is_worse and not keeps_worse:
        run.reject_best()
    yield judgement


def _choose_device(name: str, ranks: Ranks) -> torch.device:
    """Choose the device; of several processes each takes a GPU of its own."""
    device = choose_device(name)
    if device == torch.device("cuda"):
        device = choose_device(f"cuda:{ranks.local_rank}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = True  # a resumed run is to give the same numbers
    prepare_device(device)
    return device


def _add_transfer(document: Mapping[str, Any], source: Path, place: str) -> dict[str, Any]:
    """Take front end, clips and network from the checkpoint to begin with.

    Raises
    ------
    TrainingError
        When the document wants another one.
    """
    for name in ("front_end", "clip", "model"):
        if name in document:
            msg = f"{place} has a table {name!r}, but {source} settles it; leave it out."
            raise TrainingError(msg, path=source)
    transfer = {**document.get("transfer", {}), "source": read_header(source).name}
    return {**document, **transfer_tables(source), "transfer": transfer}


def _begin_folder(folder: RunFolder, recipe: Recipe, manifest: Manifest, device: torch.device, ranks: Ranks) -> None:
    """Write what will be done, before it is."""
    folder.create()
    write_manifest(manifest, folder.path / DATASET)
    facts = {
        "tagcli": __version__,
        "torch": str(torch.__version__),
        "device": str(device),
        "processes": ranks.n_ranks,
        "data_set": manifest.name,
        "data_fingerprint": manifest.fingerprint,
    }
    folder.write_config({**recipe.to_document(), "run": facts})


def _fill_cache(manifest: Manifest, recipe: Recipe, n_workers: int) -> Generator[Report, None, None]:
    """Decode what is not in the cache yet."""
    plan = plan_cache(manifest, sample_rate=recipe.front_end.sample_rate, max_seconds=recipe.data.cache_seconds)
    yield plan
    yield from build_cache(plan, n_workers=n_workers)


def _open_audio(manifest: Manifest, recipe: Recipe) -> tuple[ExampleAudio, int, str | None]:
    """Open the examples that can be heard; also how many cannot, and why the first one.

    Raises
    ------
    TrainingError
        When none can.
    """
    sample_rate, seconds = recipe.front_end.sample_rate, recipe.data.cache_seconds
    if recipe.data.cache == "waveforms":
        cached = ClipCache(manifest, sample_rate=sample_rate, max_seconds=seconds)
        missing = dict(cached.missing)
    else:
        missing = {row: why for row in range(len(manifest)) if (why := _look(manifest.locate(row))) is not None}
    if len(missing) == len(manifest):
        msg = (
            f"No example of {manifest.name} can be heard ({next(iter(missing.values()))}); give --audio, or run check."
        )
        raise TrainingError(msg)
    if missing:
        manifest = manifest.take([row for row in range(len(manifest)) if row not in missing])
    first = next(iter(missing.values()), None)
    if recipe.data.cache == "waveforms":
        return ClipCache(manifest, sample_rate=sample_rate, max_seconds=seconds), len(missing), first
    return DecodedAudio(manifest, sample_rate=sample_rate, max_seconds=seconds), len(missing), first


def _look(path: Path) -> str | None:
    """Say why a file cannot be heard, as far as a look at it tells."""
    try:
        return None if path.stat().st_size else f"{path} is empty"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"


def _make_header(
    folder: RunFolder, recipe: Recipe, manifest: Manifest, learned: Manifest, source: Path | None
) -> CheckpointHeader:
    """Say what the checkpoints of this training are."""
    n_artists = len(set(learned.artists) - {""})
    data = f"{manifest.name}: {len(learned)} examples by {n_artists} artists ({', '.join(recipe.data.train)})"
    provenance = Provenance(
        source=f"trained by tagcli {__version__}",
        source_sha256=manifest.fingerprint,
        licence="not stated; those of the music and its labels may bind it",
        citation="",
        training_data=data,
        artists=hash_artists(learned.artists),
    )
    if source is not None:
        older = read_header(source).provenance
        provenance = replace(
            provenance,
            source=f"finetuned by tagcli {__version__} from {older.source}",
            licence=older.licence,
            citation=older.citation,
            training_data=f"{older.training_data}; then {data}",
            artists=tuple(sorted({*older.artists, *provenance.artists})),
        )
    return CheckpointHeader(
        name=folder.path.resolve().name,
        front_end=recipe.front_end,
        clip=recipe.clip,
        architecture=recipe.model,
        vocabulary=describe_tags(manifest.name, manifest.tags),
        provenance=provenance,
    )
