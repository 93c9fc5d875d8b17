"""Whether finetuning has helped: the weights before and after it, on examples that it has not learned from."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from tagcli.audio.clips import ClipChoice
from tagcli.datasets.audio import DecodedAudio
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TagcliError
from tagcli.evaluation import Aligned, Comparison, SystemScores, align, compare, find_judgeable, match_tags
from tagcli.evaluation.scoring import score_examples
from tagcli.tagger.module import TaggerModule
from tagcli.training.recipe import Recipe
from tagcli.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

TEST = "test"


@dataclass(frozen=True, kw_only=True)
class HoldOutResult:
    """What came of a finetuning.

    Parameters
    ----------
    split
        Name of the hold-out.
    is_chosen_by
        Whether the hold-out is also what chose the best epoch: there was no test split.
    comparison
        The weights after it against those before it, on the tags that both know.
    is_rejected
        Whether the new weights were put aside because they are worse.
    """

    split: str
    is_chosen_by: bool
    comparison: Comparison
    is_rejected: bool


@dataclass(frozen=True)
class NotJudged:
    """Why the weights before and after a finetuning could not be compared.

    Parameters
    ----------
    reason
        One sentence.
    """

    reason: str


def judge(
    folder: RunFolder,
    source: Path,
    manifest: Manifest,
    recipe: Recipe,
    *,
    device: torch.device,
    n_workers: int,
    keeps_worse: bool,
) -> HoldOutResult | NotJudged:
    """Compare a run's best weights with those that it began with, on the test split, or else the validation split.

    Parameters
    ----------
    folder
        The run; weights with a lower macro ROC-AUC are put aside in it.
    source
        The checkpoint that it began with.
    manifest
        The data set.
    recipe
        Which split was for validation.
    device, n_workers
        What listens.
    keeps_worse
        Whether worse weights stay where they are.

    Raises
    ------
    TrainingError
        When worse weights cannot be put aside.
    """
    split = TEST if TEST in manifest.splits else next(iter(recipe.data.validation), None)
    if split is None or split in recipe.data.train:
        return NotJudged("There is no test split and no validation split, so nothing is held out to judge by.")
    held_out = manifest.select(split)
    try:
        comparison = _compare(folder.best, source, held_out, device, n_workers)
    except TagcliError as error:
        return NotJudged(error.message)
    difference = comparison.macro.roc_auc.difference
    if math.isnan(difference):
        return NotJudged(f"No tag that both know has positives and negatives in the split {split}.")
    is_rejected = difference < 0 and not keeps_worse
    if is_rejected:
        folder.reject_best()
    return HoldOutResult(
        split=split, is_chosen_by=split in recipe.data.validation, comparison=comparison, is_rejected=is_rejected
    )


def _compare(best: Path, source: Path, held_out: Manifest, device: torch.device, n_workers: int) -> Comparison:
    """Have both listen to the hold-out."""
    systems: list[Aligned] = []
    for path in (best, source):
        module = TaggerModule.from_checkpoint(path)
        header = module.header
        find_judgeable(held_out, match_tags(held_out.tags, header.vocabulary.tags))  # before anything is listened to
        unheard: list[int] = []
        scores = score_examples(
            module.to(device),
            DecodedAudio(held_out, sample_rate=header.front_end.sample_rate),
            choice=ClipChoice(),
            n_workers=n_workers,
            on_failure=lambda row, _, rows=unheard: rows.append(row),  # type: ignore[misc]  # its own list each time
        )
        if unheard:
            logger.warning("%d examples of the hold-out cannot be heard.", len(unheard))
        name = path.resolve().parent.name if path == best else header.name
        system = SystemScores(name=name, tags=header.vocabulary.tags, ids=held_out.ids, scores=scores)
        systems.append(align(held_out, system))
    return compare(*systems)
