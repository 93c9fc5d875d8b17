"""The command `merge`: one result of several."""

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from tagcli.cli.options import ResultFormat
from tagcli.errors import ExitCode, OutputError


def merge(
    ctx: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS",
            help="What `tagcli predict` wrote as json, jsonl or csv, under any name.",
            show_default=False,
            readable=False,
        ),
    ],
    format_: Annotated[ResultFormat, typer.Option("--format", help="How results are printed.")] = ResultFormat.TABLE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Print results into a file.")
    ] = None,
) -> None:
    """Make one result of several: of the machines of `predict --shard`, or of several runs.

    A track that occurs more than once comes once: one that was tagged goes before one that was skipped, that before one
    that failed, and among equals the one given last. When a failed track remains, the exit code is 3.

    Example: tagcli merge one.jsonl two.jsonl --format csv -o all.csv
    """
    from tagcli.cli.display import Tally
    from tagcli.cli.output import make_writer, open_output
    from tagcli.results import merge_results

    _check_output(output, results)
    merged = merge_results(results)
    head = merged.head
    model = {"name": head.name, "sha256": head.sha256} if head else None
    tally = Tally()
    with open_output(output) as stream:
        writer = make_writer(format_, stream)
        writer.begin({"model": model, "settings": head.settings if head else {}})
        for row in merged.rows:
            tally.add(row)
            writer.write(row)
        summary = tally.summarise(is_interrupted=merged.is_interrupted)
        writer.end(summary | {"elapsed_seconds": None, "x_real_time": None})  # of the runs, and not known here
    if not ctx.obj:
        counts = ", ".join(f"{summary[name]} {name}" for name in ("tagged", "skipped", "failed"))
        typer.echo(f"Merged {len(results)} results: {counts}", err=True)
    if tally.n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _check_output(output: Path | None, results: Iterable[Path]) -> None:
    """Refuse to write over what is merged, also where the shell leads stdout into it."""
    try:
        target = os.fstat(sys.stdout.fileno()) if output is None or str(output) == "-" else output.stat()
    except OSError:  # not there yet, or no file
        return
    for path in results if stat.S_ISREG(target.st_mode) else ():
        with suppress(OSError):  # told when it is read
            if os.path.samestat(path.stat(), target):
                msg = f"{path} is one of the results to merge, and is not written over; choose another place."
                raise OutputError(msg, path=path)
