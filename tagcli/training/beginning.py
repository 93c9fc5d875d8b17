"""What a training begins with: fresh weights, or those of a checkpoint under a new head."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from tagcli import __version__
from tagcli.checkpoint import CheckpointHeader, Provenance, hash_artists, load_tensors, read_header
from tagcli.datasets.manifest import Manifest
from tagcli.errors import CheckpointError, TrainingError
from tagcli.evaluation import match_tags
from tagcli.models.forms import NEGLIGIBLE_WEIGHT
from tagcli.training.learner import Learner
from tagcli.training.recipe import Recipe
from tagcli.training.teachers import Teachers
from tagcli.weights.calibrated import require_calibrated
from tagcli.weights.vocabularies import describe_tags

FINETUNE_DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "optimisation": {"epochs": 20},
        "transfer": {"rate_factor": 0.1, "batch_norm": "keep"},
    }
)
"""What a finetuning's recipe has otherwise than one from scratch, unless it is said."""

TEACHING_DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {"optimisation": {"epochs": 8, "batch_size": 8, "learning_rate": 3e-3, "keep": "last"}}
)
"""What a student's recipe has otherwise than one that learns labels: an epoch sees every variant of an example."""

_HEAD = ("model.dense.weight", "model.dense.bias")


def begin_fresh(header: CheckpointHeader, recipe: Recipe, taught: npt.NDArray[np.float32] | None = None) -> Learner:
    """Make a learner with weights drawn from the recipe's seed.

    Parameters
    ----------
    header, recipe
        What is learned, and how.
    taught
        What teachers say of the training examples, as logits [shape=(n_examples, n_tags)]: their mean is what a student
        says of everything at first. None where labels are learned.
    """
    learner = _make_learner(header, recipe)
    learner.initialise(recipe.optimisation.seed)
    if taught is not None:
        learner.say_always(torch.from_numpy(taught.mean(axis=0)))
    return learner


def begin_from(path: Path, header: CheckpointHeader, recipe: Recipe) -> Learner:
    """Make a learner with a checkpoint's weights; tags of both vocabularies keep their rows of the head.

    Which tags are the same is what `tagcli.evaluation.match_tags` says, as it is where both are judged.

    Parameters
    ----------
    path
        The checkpoint; its front end, clips and blocks are those of the recipe.
    header
        Of what is learned, with the new vocabulary.
    recipe
        What is frozen, and the seed of the new rows.

    Raises
    ------
    CheckpointError
        When the checkpoint cannot be read, or its tensors do not fit its own configuration.
    """
    learner = begin_fresh(header, recipe)
    tensors, old = load_tensors(path), read_header(path).vocabulary
    fresh = learner.state_dict()
    match = match_tags(header.vocabulary.tags, old.tags)
    new_rows = [header.vocabulary.tags.index(tag) for tag in match.dataset_tags]
    old_rows = [old.tags.index(tag) for tag in match.system_tags]
    try:
        for name in _HEAD:
            head = fresh[name].clone()
            head[new_rows] = tensors[name][old_rows]
            tensors[name] = head
        learner.load_state_dict({name: _flush(tensor) for name, tensor in tensors.items()}, strict=True)
    except (KeyError, RuntimeError, IndexError) as error:
        msg = f"The tensors of {path} do not fit its configuration ({error}); fetch the checkpoint again."
        raise CheckpointError(msg, path=path) from error
    return learner


def transfer_tables(path: Path) -> dict[str, dict[str, object]]:
    """Give the tables of a recipe that a checkpoint settles: front end, clips and network, without its outputs.

    Raises
    ------
    CheckpointError
        When it cannot be read.
    WeightsError
        When its batch norms have no statistics.
    """
    header = read_header(path)
    require_calibrated(header, path)
    recipe = Recipe(front_end=header.front_end, clip=header.clip, model=header.architecture).to_document()
    del recipe["model"]["n_tags"]
    return {name: recipe[name] for name in ("front_end", "clip", "model")}


def make_header(
    folder: Path,
    recipe: Recipe,
    manifest: Manifest,
    learned: Manifest,
    *,
    source: Path | None = None,
    teachers: Teachers | None = None,
) -> CheckpointHeader:
    """Say what the checkpoints of a training are.

    Parameters
    ----------
    folder
        The run; the checkpoint is called as it is.
    recipe
        Front end, clips and network.
    manifest, learned
        The data set, and those of its examples that are learned from.
    source
        The checkpoint that training begins with, whose licence and artists are handed on; None for fresh weights.
    teachers
        Whose artists are handed on; None where labels are learned.
    """
    artists = hash_artists(learned.artists)
    data = f"{manifest.name}: {len(learned)} examples by {len(artists)} artists ({', '.join(recipe.data.train)})"
    provenance = Provenance(
        source=f"trained by tagcli {__version__}",
        source_sha256=manifest.fingerprint,
        licence="not stated; those of the music and its labels may bind it",
        citation="",
        training_data=data,
        artists=artists,
    )
    if teachers is not None:
        provenances = [header.provenance for header in teachers.headers]
        names = ", ".join(header.name for header in teachers.headers)
        provenance = replace(
            provenance,
            source=f"students of {names}, trained by tagcli {__version__}",
            licence="not stated; those of the music and of the teachers may bind it",
            citation="; ".join(dict.fromkeys(each.citation for each in provenances if each.citation)),
            training_data=f"{data}, {recipe.teaching.n_variants} variants of each, without labels",
            artists=tuple(sorted({*artists, *(artist for each in provenances for artist in each.artists)})),
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
    if recipe.weights.licence:
        provenance = replace(provenance, licence=recipe.weights.licence)
    return CheckpointHeader(
        name=folder.resolve().name,
        front_end=recipe.front_end,
        clip=recipe.clip,
        architecture=recipe.model,
        vocabulary=describe_tags(manifest.name, manifest.tags),
        provenance=provenance,
    )


def _flush(tensor: torch.Tensor) -> torch.Tensor:
    """Make weights of no weight zero."""
    return torch.where(tensor.abs() < NEGLIGIBLE_WEIGHT, torch.zeros_like(tensor), tensor)


def _make_learner(header: CheckpointHeader, recipe: Recipe) -> Learner:
    """Build the modules, which draw from torch's generator before their weights are set."""
    try:
        with torch.random.fork_rng(devices=[]):
            return Learner(header.front_end, header.architecture, recipe.transfer)
    except (ValueError, RuntimeError, OverflowError) as error:  # of torch: a tensor larger than there is memory for
        msg = f"The recipe cannot be followed: {str(error).partition(chr(10))[0]}."
        raise TrainingError(msg) from error
