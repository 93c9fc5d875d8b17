"""What is wrong with a batch's logits: by the labels that are known, or by what the teachers say."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tagcli.datasets.manifest import Manifest
from tagcli.training.learner import LearningBatch
from tagcli.training.optimisation import weigh_positives
from tagcli.training.recipe import Recipe

Loss: TypeAlias = Callable[[Tensor, LearningBatch], Tensor]
"""Logits [shape=(n_clips, n_tags)] and their batch, to a scalar: their share of the whole batch's mean."""

_LEAST_DEVIATION = 0.05  # of a tag's logits: one that never changes is not worth a thousand others


def choose_loss(
    recipe: Recipe, manifest: Manifest, taught: npt.NDArray[np.float32] | None, device: torch.device
) -> Loss:
    """Choose what is to become small.

    Parameters
    ----------
    recipe
        Weights of positives, and what is learned from teachers.
    manifest
        The training examples.
    taught
        The teachers' logits of them [shape=(n_examples, n_tags)]; None where labels are learned.
    device
        Where it is computed.
    """
    if taught is None:
        positive_weights = weigh_positives(manifest.labels, manifest.known, recipe.optimisation)
        return label_loss(None if positive_weights is None else positive_weights.to(device))
    if recipe.teaching.loss == "scores":
        return score_loss
    deviations = np.maximum(taught.std(axis=0, dtype=np.float64), _LEAST_DEVIATION)
    return logit_loss(torch.from_numpy(deviations.astype(np.float32)).to(device))


def label_loss(positive_weights: Tensor | None = None) -> Loss:
    """Make the binary cross-entropy of the labels.

    Parameters
    ----------
    positive_weights
        Weight of the positive cells of each tag [shape=(n_tags,)], if they have any.
    """

    def loss(logits: Tensor, batch: LearningBatch) -> Tensor:
        cells = functional.binary_cross_entropy_with_logits(
            logits.float(), batch.wanted, pos_weight=positive_weights, reduction="none"
        )
        return _average(cells, batch)

    return loss


def score_loss(logits: Tensor, batch: LearningBatch) -> Tensor:
    """Compute the binary cross-entropy of the teachers' scores. Hinton et al. (2015), section 2."""
    wanted = torch.sigmoid(batch.wanted)
    return _average(functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none"), batch)


def logit_loss(deviations: Tensor) -> Loss:
    """Make the squared difference of the teachers' logits.

    Ba and Caruana, "Do deep nets really need to be deep?" (2014), equation 1.

    Parameters
    ----------
    deviations
        Standard deviation of each tag [shape=(n_tags,)], which differences are measured in: rare tags count alike.
    """

    def loss(logits: Tensor, batch: LearningBatch) -> Tensor:
        return _average(((logits.float() - batch.wanted) / deviations).square(), batch)

    return loss


def _average(cells: Tensor, batch: LearningBatch) -> Tensor:
    """Average what is known, as a share of the whole batch."""
    return (cells * batch.known).sum() / max(batch.n_known, 1)
