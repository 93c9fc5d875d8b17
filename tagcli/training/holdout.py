"""Whether finetuning has helped: the weights before and after it, on examples that it has not learned from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tagcli.audio.clips import ClipChoice
from tagcli.datasets.audio import DecodedAudio
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TagcliError
from tagcli.evaluation import Aligned, Comparison, SystemScores, align, compare, match_tags
from tagcli.evaluation.scoring import score_examples
from tagcli.tagger.module import TaggerModule
from tagcli.training.recipe import Recipe
from tagcli.training.run_folder import RunFolder

TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came of a finetuning.

    Parameters
    ----------
    split
        Name of the hold-out.
    comparison
        The weights after it against those before it, on the tags that both know.
    """

    split: str
    comparison: Comparison

    @property
    def is_worse(self) -> bool:
        """Whether the macro ROC-AUC on the hold-out fell."""
        return self.comparison.macro.roc_auc.difference < 0


def judge(
    folder: RunFolder,
    source: Path,
    manifest: Manifest,
    recipe: Recipe,
    *,
    device: torch.device,
    n_workers: int,
    on_failure: Callable[[int, TagcliError], None] | None = None,
) -> Judgement | None:
    """Compare a run's best weights with those that it began with, on the test split, or else the validation split.

    Parameters
    ----------
    folder
        The run.
    source
        The checkpoint that it began with.
    manifest
        The data set.
    recipe
        Which split was for validation.
    device, n_workers
        What listens.
    on_failure
        Told of examples that cannot be heard.

    Returns
    -------
    Judgement or None
        None when there is no hold-out, or no tag that both know and that has positives and negatives in it.
    """
    split = TEST if TEST in manifest.splits else next(iter(recipe.data.validation), None)
    if split is None or split in recipe.data.train:
        return None
    held_out = manifest.select(split)
    systems: list[Aligned] = []
    for path in (folder.best, source):
        module = TaggerModule.from_checkpoint(path)
        tags = module.header.vocabulary.tags
        if not match_tags(held_out.tags, tags).dataset_tags:
            return None
        audio = DecodedAudio(held_out, sample_rate=module.header.front_end.sample_rate)
        scores = score_examples(
            module.to(device), audio, choice=ClipChoice(), n_workers=n_workers, on_failure=on_failure
        )
        name = folder.path.name if path == folder.best else module.header.name
        systems.append(align(held_out, SystemScores(name=name, tags=tags, ids=held_out.ids, scores=scores)))
    comparison = compare(*systems)
    return None if math.isnan(comparison.macro.roc_auc.difference) else Judgement(split=split, comparison=comparison)
