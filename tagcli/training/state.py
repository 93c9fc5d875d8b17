"""What a training keeps of itself: one that was stopped goes on from it, and ends with the same weights."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch

from tagcli.datasets.manifest import Manifest
from tagcli.errors import CheckpointError
from tagcli.training.learner import Learner
from tagcli.training.recipe import Recipe
from tagcli.training.run_folder import RunFolder


@dataclass(kw_only=True)
class Place:
    """How far a training has come."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    validations: list[float]
    best_epoch: int = -1
    best_roc_auc: float = -math.inf
    best_pr_auc: float = math.nan
    best_n_tags: int = 0


@dataclass(kw_only=True, eq=False)
class TrainingState:
    """Everything that changes while a network learns.

    Parameters
    ----------
    learner, optimizer, scaler
        With the numbers that they have at the moment.
    place
        Likewise.
    identity
        What tells this training from another one; see `identify`.
    """

    learner: Learner
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    place: Place
    identity: str

    def save(self, folder: RunFolder) -> None:
        """Keep it.

        Raises
        ------
        TrainingError
            When it cannot be written.
        """
        folder.save_state(
            {
                "place": asdict(self.place),
                "learner": self.learner.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "log_bytes": folder.measure_log(),
                "identity": self.identity,
            }
        )

    def load(self, folder: RunFolder) -> int:
        """Take what was kept; gives the length in bytes that the log had then.

        Raises
        ------
        CheckpointError
            When it is damaged, or belongs to another training.
        """
        state, path = folder.load_state(), folder.path
        if state.get("identity") != self.identity:
            msg = f"The state in {path} was made with other data, files or recipe; train into another folder."
            raise CheckpointError(msg, path=path)
        try:
            self.learner.load_state_dict(state["learner"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.place = Place(**state["place"])
            return int(state["log_bytes"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            msg = f"The state in {path} does not fit its recipe ({error}); delete {path} and begin anew."
            raise CheckpointError(msg, path=path) from error


def identify(
    manifests: Sequence[Manifest], recipe: Recipe, n_ranks: int, taught: npt.NDArray[np.float32] | None
) -> str:
    """Say what a training is of.

    Parameters
    ----------
    manifests
        Of what is learned from and validated by.
    recipe
        Every number.
    n_ranks
        Processes that train together.
    taught
        What teachers say, as logits [shape=(n_examples, n_tags)]; None where labels are learned.
    """
    said = "" if taught is None else f" {hashlib.sha256(taught.tobytes()).hexdigest()}"
    return f"{' '.join(manifest.fingerprint for manifest in manifests)} {recipe!r} {n_ranks}{said}"
