"""What is told of a data set: counts, tables, findings as they come."""

import sys
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tagcli.cli.listing import Listing
from tagcli.cli.options import ListFormat
from tagcli.cli.output import make_printable
from tagcli.rows import make_readable

if TYPE_CHECKING:
    from tagcli.datasets import Manifest
    from tagcli.datasets.check import Finding
    from tagcli.datasets.summary import DatasetSummary, SplitSummary

_SHOWN_OF_A_KIND = 20
_NO_SPLIT = "(no split)"


def print_counts(summary: "DatasetSummary", output: Path) -> None:
    """Say on stderr what a manifest has become."""
    typer.echo(f"{_clean(str(output))}: {len(summary.tags)} tags, {_describe(summary.total)}", err=True)
    for part in summary.splits:
        typer.echo(f"  {_clean(part.split) or _NO_SPLIT}: {_describe(part)}", err=True)


def print_summary(summary: "DatasetSummary", format_: ListFormat) -> None:
    """Print what is in a data set."""
    if format_ is ListFormat.JSON:
        _print_json(summary)
    else:
        _print_tables(summary)


class Findings:
    """Prints what is wrong, as lines as it comes, or as one JSON document at the end.

    Parameters
    ----------
    manifest
        What is looked at.
    format_
        Lines or JSON.
    """

    def __init__(self, manifest: "Manifest", format_: ListFormat) -> None:
        self._manifest = manifest
        self._is_json = format_ is ListFormat.JSON
        self._listing = Listing(format_)
        self._counts: Counter[str] = Counter()
        self.n_failures = 0

    def add(self, finding: "Finding") -> None:
        """Take one; of a kind that is frequent only the first ones are printed as lines."""
        kind = finding.kind.value
        self._counts[kind] += 1
        self.n_failures += finding.is_failure
        entry = {
            "kind": kind,
            "is_failure": finding.is_failure,
            "message": make_readable(finding.message),
            "paths": [make_readable(path) for path in finding.paths],
            "splits": [make_readable(split) for split in finding.splits],
        }
        is_shown = self._counts[kind] <= _SHOWN_OF_A_KIND
        with _aside(is_needed=is_shown and not self._is_json):
            self._listing.add(entry, [f"{kind}: {_clean(finding.message)}"] if is_shown else ())

    def end(self) -> None:
        """Print the rest, and the counts."""
        n_examples, n_files = len(self._manifest), len(set(self._manifest.paths))
        for kind, count in self._counts.items() if not self._is_json else ():
            if count > _SHOWN_OF_A_KIND:
                typer.echo(f"{kind}: and {count - _SHOWN_OF_A_KIND} more; --format json lists every one")
        name = make_readable(self._manifest.name)
        self._listing.end("findings", dataset=name, n_examples=n_examples, n_files=n_files, counts=dict(self._counts))
        if not self._is_json:
            told = ", ".join(f"{count} {kind}" for kind, count in self._counts.most_common()) or "nothing wrong"
            typer.echo(f"{_clean(name)}: {n_examples} examples in {n_files} files: {told}")


def open_bar(n_files: int, *, is_shown: bool) -> AbstractContextManager[Any]:
    """Open a bar over files, on stderr when that is a terminal."""
    from tqdm import tqdm

    bar: AbstractContextManager[Any] = tqdm(
        total=n_files, unit="file", file=sys.stderr, dynamic_ncols=True, leave=False, disable=None if is_shown else True
    )
    return bar


def _aside(*, is_needed: bool) -> AbstractContextManager[Any]:
    """Clear the bar for as long as a line is printed."""
    from contextlib import nullcontext

    from tqdm import tqdm

    context: AbstractContextManager[Any] = tqdm.external_write_mode(file=sys.stderr) if is_needed else nullcontext()
    return context


def _print_json(summary: "DatasetSummary") -> None:
    import dataclasses
    import json

    total = dataclasses.asdict(summary.total)
    del total["split"]
    document = {
        "format_version": 1,
        "name": make_readable(summary.name),
        "root": make_readable(summary.root),
        "fingerprint": summary.fingerprint,
        **total,
        "n_files": summary.n_files,
        "n_without_artist": summary.n_without_artist,
        "n_tags": len(summary.tags),
        "splits": [dataclasses.asdict(part) for part in summary.splits],
        "tags": [
            {
                "tag": tag.tag,
                "n_positive": tag.total.n_positive,
                "n_negative": tag.total.n_negative,
                "n_unknown": tag.total.n_unknown,
                "n_positive_artists": tag.total.n_positive_artists,
                "splits": [dataclasses.asdict(counts) for counts in tag.splits],
            }
            for tag in summary.tags
        ],
    }
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _print_tables(summary: "DatasetSummary") -> None:
    typer.echo(f"name         {_clean(summary.name)}")
    typer.echo(f"audio        {_clean(summary.root)}")
    typer.echo(f"fingerprint  {summary.fingerprint}")
    typer.echo(f"files        {summary.n_files}")
    if summary.n_without_artist:
        typer.echo(f"no artist    {summary.n_without_artist} examples, which count as artists of their own")
    parts = [*summary.splits, summary.total] if len(summary.splits) > 1 else [*summary.splits]
    names = [_clean(part.split) or _NO_SPLIT for part in parts]
    typer.echo()
    rows = [
        [name, str(part.n_examples), str(part.n_artists), _hours(part)] for name, part in zip(names, parts, strict=True)
    ]
    _print_aligned([["split", "examples", "artists", "hours"], *rows])
    typer.echo()
    header = ["tag", "positive", "negative", "unknown", "artists"]
    header += [f"{name} positive (artists)" for name in names[: len(names) - 1]]
    lines = [header]
    for tag in summary.tags:
        total = tag.total
        counts = (total.n_positive, total.n_negative, total.n_unknown, total.n_positive_artists)
        by_split = [f"{part.n_positive} ({part.n_positive_artists})" for part in tag.splits]
        lines.append([_clean(tag.tag), *map(str, counts), *(by_split if len(by_split) > 1 else ())])
    _print_aligned(lines)


def _print_aligned(rows: list[list[str]]) -> None:
    """Print columns, the first to the left and the others to the right; no line is wrapped or cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        typer.echo("  ".join(cells).rstrip())


def _describe(part: "SplitSummary") -> str:
    hours = "" if part.hours is None else f", {_hours(part)} hours"
    return f"{part.n_examples} examples by {part.n_artists} artists{hours}"


def _hours(part: "SplitSummary") -> str:
    if part.hours is None:
        return "-"
    return f"{part.hours:.2f}" + (f" (+ {part.n_without_duration} unknown)" if part.n_without_duration else "")


def _clean(text: str) -> str:
    return make_printable(make_readable(text))
