"""A training as TensorBoard shows it; the package is an extra."""

from functools import partial
from pathlib import Path

from tagcli.errors import TrainingError
from tagcli.training.reports import EpochReport


class Board:
    """Writes what TensorBoard reads.

    Parameters
    ----------
    folder
        Where to; it is made when the first numbers are written.

    Raises
    ------
    TrainingError
        When the extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            msg = "TensorBoard is not installed; run `pip install 'tagcli[tensorboard]'`, or leave --tensorboard out."
            raise TrainingError(msg) from error
        self._open = partial(SummaryWriter, str(folder))
        self._writer: SummaryWriter | None = None

    def write(self, report: EpochReport) -> None:
        """Write the numbers of an epoch."""
        if self._writer is None:
            self._writer = self._open()
        numbers = {
            "loss": report.loss,
            "validation/roc_auc": report.roc_auc,
            "validation/pr_auc": report.pr_auc,
            "learning_rate": report.learning_rate,
            "clips_per_second": report.clips_per_second,
        }
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, report.epoch + 1)

    def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            self._writer.close()
