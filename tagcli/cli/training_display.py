"""What is told of a training: a bar on a terminal, a line for each epoch elsewhere, and the result."""

import json
import math
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import typer

from tagcli.cli.options import ListFormat
from tagcli.datasets.clip_filling import CachePlan, CacheProgress
from tagcli.evaluation.document import describe_comparison
from tagcli.training.board import Board
from tagcli.training.holdout import HoldOutResult, NotJudged
from tagcli.training.lessons import LessonProgress
from tagcli.training.ranks import Ranks
from tagcli.training.reports import Beginning, EpochReport, StepReport, Summary
from tagcli.training.run_folder import REJECTED
from tagcli.training.session import Report


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
        is_first = Ranks.from_environment().is_first
        self._folder = folder
        self._talks = is_first and not is_quiet
        self._is_first = is_first
        self._board = Board(folder / "tensorboard") if with_board and is_first else None
        self._bar: Any = None
        self._n_epochs = 0
        self._n_train = 0
        self._prepared: str | None = None
        self._chooses = True  # the weights, by their validation
        self._best: EpochReport | None = None
        self._summary: Summary | None = None
        self._hold_out: HoldOutResult | NotJudged | None = None

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
            case LessonProgress():
                self._show_lessons(report)
            case Beginning():
                self._close_bar()
                self._show_beginning(report)
            case StepReport():
                self._show_step(report)
            case EpochReport():
                self._show_epoch(report)
            case Summary():
                self._summary = report
            case HoldOutResult() | NotJudged():
                self._hold_out = report

    @property
    def is_rejected(self) -> bool:
        """Whether the new weights were put aside as worse than those they began as."""
        return isinstance(self._hold_out, HoldOutResult) and self._hold_out.is_rejected

    def print_result(self, format_: ListFormat) -> None:
        """Print on stdout what came of it."""
        summary, hold_out = self._summary, self._hold_out
        if not self._is_first or summary is None:
            return
        if format_ is ListFormat.JSON:
            typer.echo(json.dumps(self._describe_result(summary)))
        else:
            kept = "best" if self._chooses else "last weights,"
            what = kept if summary.is_new else f"nothing was left to learn; {kept}"
            figures = _describe(summary.roc_auc, summary.pr_auc, summary.n_tags)
            typer.echo(f"{self._folder}: {what} after epoch {summary.best_epoch + 1}, {figures}")
            if isinstance(hold_out, HoldOutResult):
                print_hold_out(hold_out)
        if isinstance(hold_out, NotJudged):
            typer.echo(f"tagcli: Before and after were not compared. {hold_out.reason}", err=True)
        if self.is_rejected:
            message = f"{self._folder / REJECTED} is worse on the hold-out than what it began as; --force keeps it."
            typer.secho(f"tagcli: {message}", err=True, fg="red")

    def _describe_result(self, summary: Summary) -> dict[str, Any]:
        """Give the result as data."""
        hold_out = self._hold_out
        judged: dict[str, Any] | None = None
        if isinstance(hold_out, HoldOutResult):
            judged = {
                "split": hold_out.split,
                "chose_the_epoch": hold_out.is_chosen_by,
                "rejected": hold_out.is_rejected,
                **describe_comparison(hold_out.comparison),
            }
        return {
            "run": str(self._folder),
            "epochs": summary.n_epochs,
            "best_epoch": summary.best_epoch + 1,
            "roc_auc": _to_json(summary.roc_auc),
            "pr_auc": _to_json(summary.pr_auc),
            "n_tags": summary.n_tags,
            "hold_out": judged,
        }

    def _show_plan(self, plan: CachePlan) -> None:
        if plan.tasks and self._talks:
            size = f"{'' if plan.is_exact else 'about '}{plan.n_bytes / 1e9:.2f} GB"
            typer.echo(f"Decoding {len(plan.tasks)} examples into {plan.folder} ({size}).", err=True)

    def _show_lessons(self, progress: LessonProgress) -> None:
        if self._prepared != progress.what:
            self._close_bar()
            self._prepared = progress.what
            n_missing = progress.n_total - progress.n_done
            if n_missing and self._talks:
                size = f"{progress.n_bytes * n_missing / progress.n_total / 1e9:.2f} GB"
                said = f"Preparing {n_missing} lessons in {progress.folder} ({size})."
                typer.echo(
                    said if progress.what == "lessons" else f"Hearing {n_missing} validation examples.", err=True
                )
        self._advance("preparing" if progress.what == "lessons" else "hearing", progress.n_total, progress.n_done)

    def _show_beginning(self, beginning: Beginning) -> None:
        self._n_epochs, self._n_train = beginning.recipe.optimisation.epochs, beginning.n_train
        if not self._talks:
            return
        if beginning.n_missing:
            more = " ..." if beginning.n_missing > 1 else ""
            typer.echo(
                f"tagcli: Left out are {beginning.n_missing} examples: {beginning.first_missing}{more}", err=True
            )
        model = beginning.recipe.model
        self._chooses = beginning.recipe.optimisation.keep == "best" and beginning.n_validation > 0
        counts = f"{beginning.n_train} examples, {beginning.n_validation} to validate by, {model.n_tags} tags"
        typer.echo(f"Learning {model.architecture} on {beginning.device} from {counts}.", err=True)

    def _show_step(self, report: StepReport) -> None:
        n_done = report.epoch * self._n_train + round(self._n_train * report.step / report.n_steps)
        best = "" if self._best is None or math.isnan(self._best.roc_auc) else f", ROC-AUC {self._best.roc_auc:.4f}"
        note = f"epoch {report.epoch + 1}, loss {report.loss:.4f}{best}"
        self._advance("learning", self._n_epochs * self._n_train, n_done, note)

    def _show_epoch(self, report: EpochReport) -> None:
        if report.is_best:
            self._best = report
        if self._board is not None:
            self._board.write(report)
        if self._talks and self._bar is None:
            speed = f"{report.clips_per_second:.1f} clips/s, {report.seconds:.1f} s"
            mark = " *" if report.is_best and self._chooses else ""
            figures = _describe(report.roc_auc, report.pr_auc, report.n_tags)
            typer.echo(f"epoch {report.epoch + 1}: loss {report.loss:.4f}, {figures}, {speed}{mark}", err=True)
        if self._talks and report.n_unheard:
            typer.echo(f"tagcli: {report.n_unheard} clips of this epoch could not be heard.", err=True)

    def _advance(self, what: str, n_total: int, n_done: int, note: str = "") -> None:
        """Move the bar, where stderr is a terminal."""
        if not (self._talks and sys.stderr.isatty()):
            return
        if self._bar is None:
            from tqdm import tqdm

            unit = {"learning": "clip", "preparing": "lesson"}.get(what, "example")
            self._bar = tqdm(total=n_total, initial=max(0, n_done - 1), unit=unit, desc=what, file=sys.stderr)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n_done - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def print_hold_out(hold_out: HoldOutResult) -> None:
    """Print the figures before and after, tag by tag."""
    from rich.console import Console
    from rich.table import Table

    comparison = hold_out.comparison
    chosen = ", which chose the epoch" if hold_out.is_chosen_by else ""
    title = f"ROC-AUC on the split {hold_out.split}{chosen} ({comparison.n_examples} examples, tags that both know)"
    typer.echo(title)
    table = Table()
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


def _describe(roc_auc: float, pr_auc: float, n_tags: int) -> str:
    """Put a validation into words."""
    if not n_tags:
        return "not validated"
    return f"ROC-AUC {roc_auc:.4f}, PR-AUC {pr_auc:.4f} (validation, {n_tags} tags)"


def _to_json(value: float) -> float | None:
    return None if math.isnan(value) else value
