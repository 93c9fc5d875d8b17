"""What is said on stderr while and after a collection is tagged: progress, failures, summary."""

import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tagcli.rows import Row, Status, Written, make_readable

_SHOWN_FAILURES = 30
_SHOWN_SHARE = 0.01


@dataclass(kw_only=True)
class Tally:
    """Counts what became of the tracks, in constant memory.

    Parameters
    ----------
    n_tracks
        How many there are, when that is known.
    n_recalled
        How many of them were remembered.
    device
        Where the others were scored, if any were.
    shares
        What share of the workers' time each stage took, the largest first.
    """

    n_tracks: int | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    audio_seconds: float = 0.0
    troubles: list[tuple[str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    n_recalled: int = 0
    device: str | None = None
    shares: dict[str, float] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Count a row."""
        self.statuses[row.status.value] += 1
        self.audio_seconds += row.duration_seconds or 0.0
        self.warnings.update(warning.value for warning in row.warnings)
        if row.reason:
            self.reasons[row.reason.value] += 1
        if row.written:
            self.written[row.written.value] += 1
        is_trouble = row.status is not Status.OK or row.written is Written.UNSUPPORTED
        if is_trouble and len(self.troubles) < _SHOWN_FAILURES:
            self.troubles.append((row.reason.value if row.reason else Written.UNSUPPORTED.value, row.message or ""))

    @property
    def n_failed(self) -> int:
        """Number of tracks that failed."""
        return self.statuses[Status.FAILED]

    @property
    def elapsed_seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    @property
    def speed(self) -> float:
        """Seconds of audio for each second of work."""
        return self.audio_seconds / max(self.elapsed_seconds, 1e-9)

    def summarise(self, *, is_interrupted: bool) -> dict[str, Any]:
        """Give the counts as data."""
        return {
            "tagged": self.statuses[Status.OK],
            "skipped": self.statuses[Status.SKIPPED],
            "failed": self.statuses[Status.FAILED],
            "reasons": dict(self.reasons),
            "warnings": dict(self.warnings),
            "written": dict(self.written),
            "audio_seconds": round(self.audio_seconds, 3),
            "elapsed_seconds": round(self.elapsed_seconds, 3),
            "x_real_time": round(self.speed, 1),
            "recalled": self.n_recalled,
            "device": self.device,
            "shares": {stage: round(share, 3) for stage, share in self.shares.items()},
            "interrupted": is_interrupted,
        }


class Progress:
    """A bar on stderr when that is a terminal: tracks, x real time, time left."""

    def __init__(self, tally: Tally, *, is_shown: bool) -> None:
        self._tally = tally
        self._bar: Any = None
        if is_shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=tally.n_tracks, unit="track", file=sys.stderr, dynamic_ncols=True, smoothing=0.1)

    def advance(self) -> None:
        """Count one track."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._tally.speed:,.0f} x real time", refresh=False)
            self._bar.update()

    def aside(self) -> AbstractContextManager[Any]:
        """Clear the bar for as long as something is printed."""
        if self._bar is None:
            return nullcontext()
        from tqdm import tqdm

        context: AbstractContextManager[Any] = tqdm.external_write_mode(file=sys.stderr)
        return context

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def print_summary(tally: Tally, *, model: str, is_interrupted: bool) -> None:
    """Print failures and counts on stderr."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True, width=None if sys.stderr.isatty() else 200)
    if tally.troubles:
        troubles = Table(title="Not tagged, or not written", title_justify="left")
        troubles.add_column("reason")
        troubles.add_column("what and what to do", overflow="fold")
        for reason, message in tally.troubles:
            troubles.add_row(reason, Text(make_readable(message)))
        n_more = sum(tally.reasons.values()) + tally.written[Written.UNSUPPORTED] - len(tally.troubles)
        if n_more > 0:
            troubles.add_row("...", f"and {n_more} more; every one is in the output of --format jsonl")
        console.print(troubles)
    summary = Table(title="Interrupted" if is_interrupted else "Done", title_justify="left", show_header=False)
    summary.add_column()
    summary.add_column()
    summary.add_row("tagged", f"{tally.statuses[Status.OK]}{_list_counts(tally.warnings)}")
    by_status = {"skipped": Status.SKIPPED, "failed": Status.FAILED}
    skip_reasons = Counter({code: n for code, n in tally.reasons.items() if code == "silent"})
    for name, status in by_status.items():
        reasons = skip_reasons if status is Status.SKIPPED else tally.reasons - skip_reasons
        summary.add_row(name, f"{tally.statuses[status]}{_list_counts(reasons)}")
    if tally.written:
        summary.add_row("files", ", ".join(f"{n} {state}" for state, n in tally.written.items()))
    summary.add_row("audio", f"{tally.audio_seconds / 3600:.2f} h in {tally.elapsed_seconds:.1f} s")
    summary.add_row("speed", f"{tally.speed:,.0f} x real time")
    if tally.shares:
        first, *others = (f"{stage} {share:.0%}" for stage, share in tally.shares.items() if share >= _SHOWN_SHARE)
        summary.add_row("bottleneck", f"{first} of the workers' time" + (f" ({', '.join(others)})" if others else ""))
    if tally.n_recalled:
        summary.add_row("remembered", f"{tally.n_recalled} (not listened to again)")
    summary.add_row("model", f"{model} on {tally.device}" if tally.device else model)
    console.print(summary)


def _list_counts(counts: Counter[str]) -> str:
    """Put counts in brackets, the most frequent first."""
    if not counts:
        return ""
    return " (" + ", ".join(f"{n} {name}" for name, n in counts.most_common()) + ")"
