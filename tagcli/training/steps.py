"""Which examples each change of the weights sees, and in what variation; the same from any step on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.datasets.loading import Request
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TrainingError
from tagcli.models.musicnn_config import MusicnnConfig
from tagcli.training.augmentation import Variation, draw_variation, order_epoch
from tagcli.training.recipe import Recipe

Cells = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Examples that go through the network together.

    Parameters
    ----------
    requests
        Which clips.
    variation
        What is done to them.
    wanted, known
        [shape=(n_clips, n_tags)]; see `tagcli.training.learner.LearningBatch`.
    is_mixed
        Whether they are.
    """

    requests: list[Request]
    variation: Variation
    wanted: Cells
    known: Cells
    is_mixed: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """The examples of one change of the weights.

    Parameters
    ----------
    n_examples, n_known
        How many examples, and known cells, there are in all processes together.
    own
        The parts that this process takes, one after the other.
    """

    n_examples: int
    n_known: int
    own: list[Part]


class StepPlan:
    """The steps of every epoch.

    Parameters
    ----------
    manifest
        The examples to learn from.
    recipe
        Batches, seed and variation.
    rank, n_ranks
        Which of how many processes asks.
    taught
        The teachers' logits of the examples [shape=(n_examples, n_tags)]; None where labels are learned.

    Raises
    ------
    TrainingError
        When there are not enough examples for the parts of a batch.
    """

    def __init__(
        self, manifest: Manifest, recipe: Recipe, *, rank: int, n_ranks: int, taught: Cells | None = None
    ) -> None:
        self._manifest, self._recipe = manifest, recipe
        self._wanted = manifest.labels if taught is None else taught
        self._is_mixed = recipe.augmentation.mixup > 0
        n_accumulated = recipe.optimisation.n_accumulated
        self._n_parts = n_ranks * n_accumulated
        self._own = range(rank * n_accumulated, (rank + 1) * n_accumulated)
        self.n_steps = count_steps(manifest, recipe, n_ranks=n_ranks)

    def epoch(self, number: int, start: int = 0) -> Iterator[Step]:
        """Yield the steps of an epoch, in batches as equal as can be.

        Parameters
        ----------
        number
            Which epoch.
        start
            The first step to yield; those before it cost nothing.
        """
        order = order_epoch(len(self._manifest), seed=self._recipe.optimisation.seed, epoch=number)
        for places in np.array_split(np.arange(len(order)), self.n_steps)[start:]:
            parts = np.array_split(places, self._n_parts)
            yield Step(
                n_examples=len(places),
                n_known=sum(int(np.count_nonzero(self._gather_known(order[part]))) for part in parts),
                own=[self._make_part(order[parts[index]], parts[index], number) for index in self._own],
            )

    def _gather_known(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Find what is known of the examples of a part [shape=(n_clips, n_tags)]; of a mixture, what is of both."""
        known = self._manifest.known[rows]
        return known & known[::-1] if self._is_mixed else known

    def _make_part(self, rows: npt.NDArray[np.intp], places: npt.NDArray[np.intp], epoch: int) -> Part:
        """Gather examples with their labels and variation."""
        recipe = self._recipe
        variation = draw_variation(
            places,
            recipe.augmentation,
            seed=recipe.optimisation.seed,
            epoch=epoch,
            n_bands=recipe.model.n_mels,
            n_frames=recipe.model.n_frames,
        )
        wanted = self._wanted[rows].astype(np.float32)
        known = self._gather_known(rows).astype(np.float32)
        if self._is_mixed:
            own = variation.mix_shares[:, np.newaxis]
            wanted = own * wanted + (1 - own) * wanted[::-1]
        requests = [
            Request(row=row, position=position)
            for row, position in zip(rows.tolist(), variation.positions.tolist(), strict=True)
        ]
        return Part(requests=requests, variation=variation, wanted=wanted, known=known, is_mixed=self._is_mixed)


def count_steps(manifest: Manifest, recipe: Recipe, *, n_ranks: int) -> int:
    """Count the steps of an epoch.

    Raises
    ------
    TrainingError
        When there are not enough examples for the parts of a batch.
    """
    n_steps, n_parts = (
        math.ceil(len(manifest) / recipe.optimisation.batch_size),
        n_ranks * recipe.optimisation.n_accumulated,
    )
    # a musicnn's hidden layer has one number for each clip: of a single one there are no statistics
    n_least = 2 if isinstance(recipe.model, MusicnnConfig) and recipe.transfer.batch_norm == "update" else 1
    if len(manifest) < n_steps * n_parts * n_least or not n_steps:
        msg = (
            f"{len(manifest)} examples of {manifest.name} in {n_steps} batches are too few for "
            f"{n_parts} parts of a batch; take larger batches, or fewer parts and processes."
        )
        raise TrainingError(msg)
    return n_steps
