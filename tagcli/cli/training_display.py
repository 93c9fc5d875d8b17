"""What is told of a training: a bar on a terminal, a line for each epoch elsewhere, and the result."""

import json
import math
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import typer

from tagcli.cli.options import ListFormat
from tagcli.datasets.clip_filling import CachePlan, CacheProgress
from tagcli.evaluation.document import describe_comparison
from tagcli.training.board import Board
from tagcli.training.holdout import Judgement
from tagcli.training.loop import EpochReport, StepReport
from tagcli.training.run_folder import BEST, REJECTED
from tagcli.training.session import Beginning, Report


class TrainingDisplay:
    """Tells how a training goes; of several processes only the first one talks.

    Parameters
    ----------
    folder
        The run's folder.
    is_quiet
        Whether nothing is told but the result.
    with_board
        Whether TensorBoard's files are written, too.
    """

    def __init__(self, folder: Path, *, is_quiet: bool, with_board: bool) -> None:
        is_first = os.environ.get("RANK", "0") == "0"
        self._folder = folder
        self._talks = is_first and not is_quiet
        self._is_first = is_first
        self._board = Board(folder / "tensorboard") if with_board and is_first else None
        self._bar: Any = None
        self._n_epochs = 0
        self._n_train = 0
        self._best: EpochReport | None = None
        self._last: EpochReport | None = None
        self._judgement: Judgement | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()
        if self._board is not None:
            self._board.close()

    def show(self, report: Report) -> None:
        """Tell of one report."""
        match report:
            case CachePlan():
                self._show_plan(report)
            case CacheProgress():
                self._advance("decoding", report.n_total, report.n_done)
            case Beginning():
                self._close_bar()
                self._show_beginning(report)
            case StepReport():
                self._show_step(report)
            case EpochReport():
                self._show_epoch(report)
            case Judgement():
                self._judgement = report

    @property
    def is_rejected(self) -> bool:
        """Whether the new weights were put aside as worse than those they began as."""
        judgement = self._judgement
        return judgement is not None and judgement.is_worse and not (self._folder / BEST).is_file()

    def print_result(self, format_: ListFormat) -> None:
        """Print on stdout what came of it."""
        if not self._is_first:
            return
        if format_ is ListFormat.JSON:
            typer.echo(json.dumps(self._describe_result()))
            return
        best = self._best
        if self._last is None:
            typer.echo(f"{self._folder}: nothing was left to learn")
        elif best is not None:
            typer.echo(f"{self._folder}: best after epoch {best.epoch + 1}, {_describe(best)} on the validation split")
        if self._judgement is not None:
            print_judgement(self._judgement)
        if self.is_rejected:
            message = f"{self._folder / REJECTED} is worse on the hold-out than what it began as; --force keeps it."
            typer.secho(f"tagcli: {message}", err=True, fg="red")

    def _describe_result(self) -> dict[str, Any]:
        """Give the result as data."""
        best, judgement = self._best, self._judgement
        return {
            "run": str(self._folder),
            "epochs": None if self._last is None else self._last.epoch + 1,
            "best_epoch": None if best is None else best.epoch + 1,
            "roc_auc": None if best is None else _to_json(best.roc_auc),
            "pr_auc": None if best is None else _to_json(best.pr_auc),
            "n_tags": None if best is None else best.n_tags,
            "hold_out": None
            if judgement is None
            else {
                "split": judgement.split,
                "rejected": self.is_rejected,
                **describe_comparison(judgement.comparison),
            },
        }

    def _show_plan(self, plan: CachePlan) -> None:
        if plan.tasks and self._talks:
            size = f"{'' if plan.is_exact else 'about '}{plan.n_bytes / 1e9:.2f} GB"
            typer.echo(f"Decoding {len(plan.tasks)} examples into {plan.folder} ({size}).", err=True)

    def _show_beginning(self, beginning: Beginning) -> None:
        self._n_epochs, self._n_train = beginning.recipe.optimisation.epochs, beginning.n_train
        if not self._talks:
            return
        if beginning.n_missing:
            typer.echo(f"{beginning.n_missing} examples are left out: {beginning.first_missing} ...", err=True)
        model = beginning.recipe.model
        counts = f"{beginning.n_train} examples, {beginning.n_validation} to validate by, {model.n_tags} tags"
        typer.echo(f"Learning {model.architecture} on {beginning.device} from {counts}.", err=True)

    def _show_step(self, report: StepReport) -> None:
        n_done = report.epoch * self._n_train + round(self._n_train * report.step / report.n_steps)
        best = "" if self._best is None or math.isnan(self._best.roc_auc) else f", ROC-AUC {self._best.roc_auc:.4f}"
        note = f"epoch {report.epoch + 1}, loss {report.loss:.4f}{best}"
        self._advance("learning", self._n_epochs * self._n_train, n_done, note)

    def _show_epoch(self, report: EpochReport) -> None:
        self._last = report
        if report.is_best:
            self._best = report
        if self._board is not None:
            self._board.write(report)
        if self._talks and self._bar is None:
            speed = f"{report.clips_per_second:.1f} clips/s, {report.seconds:.1f} s"
            mark = " *" if report.is_best else ""
            typer.echo(
                f"epoch {report.epoch + 1}: loss {report.loss:.4f}, {_describe(report)}, {speed}{mark}", err=True
            )

    def _advance(self, what: str, n_total: int, n_done: int, note: str = "") -> None:
        """Move the bar, where stderr is a terminal."""
        if not (self._talks and sys.stderr.isatty()):
            return
        if self._bar is None:
            from tqdm import tqdm

            unit = "clip" if what == "learning" else "example"
            self._bar = tqdm(total=n_total, initial=max(0, n_done - 1), unit=unit, desc=what, file=sys.stderr)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n_done - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def print_judgement(judgement: Judgement) -> None:
    """Print the figures before and after, tag by tag."""
    from rich.console import Console
    from rich.table import Table

    comparison = judgement.comparison
    title = f"ROC-AUC on the split {judgement.split} ({comparison.n_examples} examples, tags that both know)"
    table = Table(title=title, title_justify="left")
    for name in ("tag", comparison.other, comparison.system, "difference", "95 % interval"):
        table.add_column(name, justify="left" if name == "tag" else "right", no_wrap=True)
    for tag, figures in {"macro": comparison.macro, **comparison.per_tag}.items():
        area = figures.roc_auc
        if math.isnan(area.difference):
            table.add_row(tag, "-", "-", "-", "one class only")
            continue
        bounds = f"{area.low:+.4f} to {area.high:+.4f}"
        table.add_row(tag, f"{area.other:.4f}", f"{area.value:.4f}", f"{area.difference:+.4f}", bounds)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _describe(report: EpochReport) -> str:
    """Put the validation into words."""
    if math.isnan(report.roc_auc):
        return "not validated"
    return f"ROC-AUC {report.roc_auc:.4f}, PR-AUC {report.pr_auc:.4f} over {report.n_tags} tags"


def _to_json(value: float) -> float | None:
    return None if math.isnan(value) else value
