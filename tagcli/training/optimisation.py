"""The optimizer of a learner, and its learning rate from step to step."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from tagcli.training.learner import Learner
from tagcli.training.recipe import OptimisationRecipe, TransferRecipe

_OPTIMIZERS: dict[str, type[torch.optim.Adam | torch.optim.AdamW]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def make_optimizer(learner: Learner, recipe: OptimisationRecipe, transfer: TransferRecipe) -> torch.optim.Optimizer:
    """Make the optimizer: the head, and the rest at its share of the rate; weights decay, biases and norms do not.

    Parameters
    ----------
    learner
        What learns; frozen parameters are left out.
    recipe, transfer
        How.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in learner.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = 1.0 if name.startswith("model.dense.") else transfer.rate_factor
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return _OPTIMIZERS[recipe.optimizer](
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (factor, decay), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; each group takes its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def rate_at(progress: float, recipe: OptimisationRecipe, *, validations: Sequence[float] = ()) -> float:
    """Compute the learning rate.

    Parameters
    ----------
    progress
        Epochs that are done in the middle of the step: at its start the first rate of all would be nothing, at its end
        the last one, and a training of one step would change no weight.
    recipe
        The schedule. Cosine: Loshchilov and Hutter, "SGDR" (2017), equation 5, without restarts, after a linear rise
        over `warmup_epochs`, or half of all epochs where that is less.
    validations
        ROC-AUC after each epoch so far; for ``plateau``.
    """
    rate, warmup = recipe.learning_rate, min(recipe.warmup_epochs, recipe.epochs / 2)
    if progress < warmup:
        rate *= progress / warmup
    elif recipe.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (recipe.epochs - warmup))))
    if recipe.schedule == "plateau":
        rate *= recipe.plateau_factor ** count_plateaus(validations, recipe.plateau_epochs)
    return rate


def count_plateaus(validations: Sequence[float], n_epochs: int) -> int:
    """Count how often so many epochs went by without a better validation; each begins a new count."""
    best, n_since, n_plateaus = -math.inf, 0, 0
    for value in validations:
        if value > best:
            best, n_since = value, 0
            continue
        n_since += 1
        if n_since == n_epochs:
            n_plateaus, n_since = n_plateaus + 1, 0
    return n_plateaus


def weigh_positives(
    labels: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], recipe: OptimisationRecipe
) -> torch.Tensor | None:
    """Compute the weight of each tag's positives [shape=(n_tags,)]; None when they weigh as much as negatives.

    Parameters
    ----------
    labels, known
        Of the training examples [shape=(n_examples, n_tags)].
    recipe
        Whether, and how much at most.
    """
    if recipe.positive_weights == "none":
        return None
    n_positive = labels.sum(axis=0)
    n_negative = (known & ~labels).sum(axis=0)
    weights = np.clip(
        n_negative / np.maximum(n_positive, 1), 1 / recipe.max_positive_weight, recipe.max_positive_weight
    )
    return torch.from_numpy(np.where(n_positive > 0, weights, 1.0).astype(np.float32))
