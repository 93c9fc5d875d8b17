"""The processes that train together, as `torchrun` starts them; one process is the usual case."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from tagcli.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of how many processes this is.

    Parameters
    ----------
    rank, n_ranks
        Number of this process, from 0, and how many there are.
    local_rank
        Its number on this machine: which GPU is its own.
    """

    rank: int = 0
    n_ranks: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> "Ranks":
        """Read what `torchrun` says; one process when it says nothing.

        Raises
        ------
        TrainingError
            When what it says are no numbers.
        """
        try:
            return cls(
                rank=int(os.environ.get("RANK", "0")),
                n_ranks=int(os.environ.get("WORLD_SIZE", "1")),
                local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            )
        except ValueError as error:
            msg = f"RANK, WORLD_SIZE and LOCAL_RANK are numbers, as torchrun sets them ({error}); unset them."
            raise TrainingError(msg) from error

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def join(self, device: torch.device) -> None:
        """Meet the other processes."""
        if self.n_ranks > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def leave(self) -> None:
        """Part from the other processes."""
        if self.n_ranks > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

    def wrap(self, learner: nn.Module, device: torch.device) -> nn.Module:
        """Have gradients averaged over the processes, and on GPUs the statistics of batch norms shared."""
        if self.n_ranks == 1:
            return learner
        if device.type == "cuda":
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)  # type: ignore[no-untyped-call]  # as torch
            return nn.parallel.DistributedDataParallel(learner, device_ids=[device.index])
        return nn.parallel.DistributedDataParallel(learner)

    def add(self, value: Tensor) -> Tensor:
        """Add a tensor over the processes."""
        if self.n_ranks > 1:
            distributed.all_reduce(value)
        return value

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Have every process take the tensors of the first one, in place."""
        for tensor in tensors if self.n_ranks > 1 else ():
            distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait for the other processes, for days if need be: one of them may have a large data set to decode."""
        if self.n_ranks > 1:
            patient = distributed.new_group(backend="gloo", timeout=timedelta(days=2))
            distributed.barrier(patient)
            distributed.destroy_process_group(patient)

    def agree(self, fact: str, *, what: str) -> None:
        """See that a fact is the same in every process.

        Raises
        ------
        TrainingError
            When it is not.
        """
        if self.n_ranks > 1:
            facts: list[str | None] = [None] * self.n_ranks
            distributed.all_gather_object(facts, fact)
            if len(set(facts)) > 1:
                msg = f"The processes that train together do not have the same {what}; give each machine all of it."
                raise TrainingError(msg)

    def gather_rows(self, rows: npt.NDArray[np.intp], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Put the rows of all processes together.

        Parameters
        ----------
        rows
            Which rows this process has [shape=(n_own,)].
        values
            What they are [shape=(n_own, n_columns)].

        Returns
        -------
        numpy.ndarray
            [shape=(n_rows, n_columns)], the same in every process.
        """
        if self.n_ranks == 1:
            parts: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]] = [(rows, values)]
        else:
            gathered: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]] | None] = [None] * self.n_ranks
            distributed.all_gather_object(gathered, (rows, values))
            parts = [part for part in gathered if part is not None]
        whole = np.empty((sum(len(own) for own, _ in parts), values.shape[1]), dtype=np.float32)
        for own, part in parts:
            whole[own] = part
        return whole
