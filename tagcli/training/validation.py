"""How well a learner knows the validation split, with the work shared among the processes."""

import math
from dataclasses import dataclass

import numpy as np

from tagcli.audio.clips import ClipChoice
from tagcli.checkpoint import CheckpointHeader
from tagcli.datasets.audio import ExampleAudio
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TrainingError
from tagcli.evaluation.scoring import score_examples
from tagcli.metrics import average_precision, macro, roc_auc
from tagcli.training.learner import Learner
from tagcli.training.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What the validation split says.

    Parameters
    ----------
    roc_auc, pr_auc
        Macro; nan without a validation split.
    n_tags
        How many tags these are means over.
    n_unheard
        Examples that could not be decoded.
    """

    roc_auc: float = math.nan
    pr_auc: float = math.nan
    n_tags: int = 0
    n_unheard: int = 0


def check_labels(manifest: Manifest) -> None:
    """See that examples can be validated by.

    Parameters
    ----------
    manifest
        The examples that can be heard.

    Raises
    ------
    TrainingError
        When no tag has both positives and negatives among them.
    """
    has_both = (manifest.labels & manifest.known).any(axis=0) & (~manifest.labels & manifest.known).any(axis=0)
    if not has_both.any():
        msg = f"No tag of {manifest.name} has both positives and negatives to validate by; build other splits."
        raise TrainingError(msg)


def validate(
    learner: Learner,
    header: CheckpointHeader,
    audio: ExampleAudio | None,
    *,
    choice: ClipChoice,
    ranks: Ranks,
    n_workers: int,
) -> Validation:
    """Score the validation split, each process its share, all with the weights of the first.

    Parameters
    ----------
    learner, header
        What is validated.
    audio
        The examples; None without a validation split.
    choice
        Clips of each.
    ranks
        The processes.
    n_workers
        Threads that read.

    Raises
    ------
    TrainingError
        When no tag has both positives and negatives among what can be heard.
    """
    if audio is None:
        return Validation()
    ranks.spread(learner.buffers())  # each process has batch statistics of its own
    rows = np.arange(ranks.rank, len(audio.manifest), ranks.n_ranks)
    own = score_examples(learner.to_tagger(header), audio, rows=rows, choice=choice, n_workers=n_workers)
    scores = ranks.gather_rows(rows, own)
    is_heard = np.isfinite(scores)
    labels, known = audio.manifest.labels, audio.manifest.known & is_heard
    areas = macro(roc_auc(labels, scores, known))
    if not areas.n_defined:
        msg = f"Too little of what {audio.manifest.name} is validated by can be heard; look by `tagcli dataset check`."
        raise TrainingError(msg)
    return Validation(
        roc_auc=areas.value,
        pr_auc=macro(average_precision(labels, scores, known)).value,
        n_tags=areas.n_defined,
        n_unheard=int(np.count_nonzero(~is_heard.any(axis=1))),
    )
