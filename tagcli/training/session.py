"""One training from its data set to its run folder: what `tagcli train` and `tagcli finetune` have in common."""

import logging
from collections.abc import Generator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import torch

from tagcli import __version__
from tagcli.checkpoint import read_header
from tagcli.cores import count_cores
from tagcli.datasets.clip_filling import CachePlan, CacheProgress
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.manifest_file import refuse_unwritable, write_manifest
from tagcli.errors import TrainingError
from tagcli.files import hash_file
from tagcli.tagger.device import choose_device, prepare_device
from tagcli.training.beginning import begin_fresh, begin_from, make_header, transfer_tables
from tagcli.training.examples import forget_labels
from tagcli.training.holdout import HoldOutResult, NotJudged, judge
from tagcli.training.lessons import LessonProgress
from tagcli.training.loop import TrainingTask, train
from tagcli.training.material import Material, gather_material
from tagcli.training.ranks import Ranks
from tagcli.training.recipe import Recipe, TransferRecipe
from tagcli.training.recipe_document import list_teachers, read_document, resolve_recipe
from tagcli.training.reports import Beginning, EpochReport, StepReport, Summary
from tagcli.training.run_folder import DATASET, RunFolder
from tagcli.training.steps import StepPlan
from tagcli.training.teachers import Teachers
from tagcli.training.teaching import TeachingRecipe
from tagcli.weights.catalogue import find_weights

logger = logging.getLogger(__name__)

Report: TypeAlias = (
    CachePlan
    | CacheProgress
    | LessonProgress
    | Beginning
    | StepReport
    | EpochReport
    | Summary
    | HoldOutResult
    | NotJudged
)


def run_training(
    manifest: Manifest,
    document: Mapping[str, Any] | None,
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
        The recipe as it was given; see `tagcli.training.recipe_document.resolve_recipe`. None, when a training is gone
        on with, for the run's own; another one is not gone on with.
    place
        What the document is, for messages.
    folder
        Where everything goes; see `tagcli.training.run_folder.RunFolder`. Nothing is written before it is known that
        the training can begin.
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
        As it goes: what the cache will take, how it fills, what is about to be learned, steps, epochs, what came of it.

    Raises
    ------
    TrainingError, DatasetError, CheckpointError, DeviceError
        When something does not fit, is damaged or cannot be written.
    """
    ranks, run = Ranks.from_environment(), RunFolder(folder)
    n_workers = n_workers or count_cores()
    device = _choose_device(device_name, ranks)
    goes_on = resumes and run.has_begun  # asked once, and before the processes meet: the first one writes later
    if not goes_on:
        run.check_free()
    names = list_teachers(read_document(run.config) if goes_on else document or {}, place)
    teachers = Teachers([find_weights(name) for name in names], device) if names else None
    if teachers is not None:
        manifest = forget_labels(manifest, teachers.tags)
    if not goes_on:
        refuse_unwritable(manifest, run.path / DATASET)
    given = None if goes_on and document is None else _resolve(document or {}, source, manifest, place)
    recipe = given if given and not goes_on else _read_recipe(run, source, teachers, manifest)
    if given is not None and recipe != given:
        msg = (
            f"{folder} was begun by another recipe; go on by --resume alone, without --teacher, --config and the like."
        )
        raise TrainingError(msg, path=folder)
    ranks.join(device)
    try:
        material = yield from gather_material(manifest, recipe, teachers, ranks=ranks, n_workers=n_workers)
        heard = [material.train.manifest, *([material.validation.manifest] if material.validation else [])]
        ranks.agree(" ".join(each.fingerprint for each in heard), what="examples that can be heard")
        header = make_header(run.path, recipe, manifest, material.learned, source=source, teachers=teachers)
        learner = begin_fresh(header, recipe, material.taught) if source is None else begin_from(source, header, recipe)
        task = TrainingTask(
            recipe=recipe,
            header=header,
            train=material.train,
            validation=material.validation,
            plan=StepPlan(
                material.train.manifest, recipe, rank=ranks.rank, n_ranks=ranks.n_ranks, taught=material.taught
            ),
            taught=material.taught,
        )
        with run.hold() if ranks.is_first else nullcontext():
            if not goes_on and ranks.is_first:
                _begin_folder(run, recipe, manifest, material, device, ranks, source=source, teachers=teachers)
            yield Beginning(
                recipe=recipe,
                n_train=len(material.train.manifest),
                n_validation=len(material.validation.manifest) if material.validation else 0,
                n_missing=len(material.missing),
                first_missing=next(iter(material.missing), None),
                device=str(device),
            )
            yield from train(task, learner.to(device), folder=run, device=device, ranks=ranks, n_workers=n_workers)
            if source is not None and ranks.is_first:
                run.restore_rejected()  # of a run that is gone on with
                yield judge(run, source, manifest, recipe, device=device, n_workers=n_workers, keeps_worse=keeps_worse)
    finally:
        ranks.leave()


def _resolve(document: Mapping[str, Any], source: Path | None, manifest: Manifest, place: str) -> Recipe:
    """Complete the recipe that was given.

    Raises
    ------
    TrainingError
        When it cannot be followed.
    """
    if source is not None:
        document = _add_transfer(document, source, place)
    recipe = resolve_recipe(document, n_tags=len(manifest.tags), place=place)
    if source is None and recipe.transfer != TransferRecipe():
        msg = f"{place} has a table 'transfer', which is for finetuning; leave it out, or `tagcli finetune` weights."
        raise TrainingError(msg)
    if not recipe.teaching.teachers and recipe.teaching != TeachingRecipe():
        msg = f"{place} has a table 'teaching' without teachers; name them, or leave it out."
        raise TrainingError(msg)
    if source is not None and recipe.teaching.teachers:
        msg = f"{place} names teachers, from whom only fresh weights learn; leave them out, or `tagcli train`."
        raise TrainingError(msg)
    return recipe


def _read_recipe(run: RunFolder, source: Path | None, teachers: Teachers | None, manifest: Manifest) -> Recipe:
    """Read the recipe of a run that is gone on with, as what it began as and with the same data.

    Raises
    ------
    TrainingError
        When it began with other weights, or with none, or with other data.
    """
    document, place = read_document(run.config), f"The recipe {run.config}"
    facts = document.get("run", {})
    facts = facts if isinstance(facts, Mapping) else {}
    begun_with = facts.get("source_sha256", "")
    if begun_with != ("" if source is None else hash_file(source)):
        command = f"tagcli finetune {facts.get('source')}" if begun_with else "tagcli train"
        msg = f"{run.path} was begun by `{command}` and is gone on with by that only; or choose another folder."
        raise TrainingError(msg, path=run.path)
    if facts.get("teachers_sha256", []) != (teachers.sha256s if teachers else []):
        msg = f"The teachers of {run.path} are not the files any more that it was begun with; choose another folder."
        raise TrainingError(msg, path=run.path)
    if facts.get("data_fingerprint", manifest.fingerprint) != manifest.fingerprint:
        msg = f"{manifest.name} is not the data set any more that {run.path} was begun with; train into another folder."
        raise TrainingError(msg, path=run.path)
    return resolve_recipe(document, n_tags=len(manifest.tags), place=place)


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


def _begin_folder(
    folder: RunFolder,
    recipe: Recipe,
    manifest: Manifest,
    material: Material,
    device: torch.device,
    ranks: Ranks,
    *,
    source: Path | None,
    teachers: Teachers | None,
) -> None:
    """Write what will be done, before it is; the recipe last, which tells that a training has begun."""
    write_manifest(material.manifest, folder.path / DATASET)
    facts = {
        "tagcli": __version__,
        "torch": str(torch.__version__),
        "device": str(device),
        "processes": ranks.n_ranks,
        "data_set": manifest.name,
        "data_fingerprint": manifest.fingerprint,
        **({} if teachers is None else {"teachers_sha256": teachers.sha256s}),
        **({} if source is None else {"source": str(source), "source_sha256": hash_file(source)}),
    }
    folder.write_config({**recipe.to_document(), "run": facts})
