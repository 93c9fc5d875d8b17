"""What a training tells while it goes: where it stands, how each epoch ended, and what came of it."""

from dataclasses import dataclass

from tagcli.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What is about to be learned.

    Parameters
    ----------
    recipe
        Every number.
    n_train, n_validation
        Examples that can be heard, as far as is known by now.
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


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Where an epoch stands.

    Parameters
    ----------
    epoch
        Number of the epoch, from 0.
    step, n_steps
        Steps that are done, of how many.
    loss
        Mean over the steps of the epoch so far.
    n_clips
        Clips learned from since the last report.
    """

    epoch: int
    step: int
    n_steps: int
    loss: float
    n_clips: int


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """How an epoch ended.

    Parameters
    ----------
    epoch
        Its number, from 0.
    loss
        Mean over its steps.
    roc_auc, pr_auc
        Macro, on the validation split; nan without one.
    n_tags
        How many tags these are means over.
    n_unheard
        Clips and validation examples that could not be decoded; since the last resumption.
    learning_rate
        Of the head, in the last step.
    is_best
        Whether the weights were kept as the best.
    seconds, validation_seconds, waited_seconds
        How long all of it took, the validation in it, and the waiting for clips in it; since the last resumption.
    clips_per_second
        Speed of learning, without the validation.
    """

    epoch: int
    loss: float
    roc_auc: float
    pr_auc: float
    n_tags: int
    n_unheard: int
    learning_rate: float
    is_best: bool
    seconds: float
    validation_seconds: float
    waited_seconds: float
    clips_per_second: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a training.

    Parameters
    ----------
    n_epochs
        Epochs that were learned, in this run and before it.
    is_new
        Whether any of them was learned just now.
    best_epoch
        Number of the one whose weights were kept, from 0.
    roc_auc, pr_auc, n_tags
        Of that one on the validation split, as in `EpochReport`.
    """

    n_epochs: int
    is_new: bool
    best_epoch: int
    roc_auc: float
    pr_auc: float
    n_tags: int
