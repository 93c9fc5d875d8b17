"""One entry for each file, as lines to read or as JSON; and the walk over files that are changed one by one."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import typer

from tagcli.cli.options import ListFormat
from tagcli.errors import ExitCode

Item = TypeVar("Item")


class Listing:
    """Prints entries.

    Parameters
    ----------
    format_
        Lines as they come, or one JSON document at the end.
    """

    def __init__(self, format_: ListFormat) -> None:
        self._format = format_
        self._entries: list[dict[str, Any]] = []

    def add(self, entry: dict[str, Any], lines: Iterable[str]) -> None:
        """Take an entry, as data and as lines to read.

        Parameters
        ----------
        entry
            JSON can say it.
        lines
            Printable.
        """
        if self._format is ListFormat.JSON:
            self._entries.append(entry)
            return
        for line in lines:
            typer.echo(line)

    def end(self, name: str = "tracks", **more: Any) -> None:
        """Print what is not printed yet.

        Parameters
        ----------
        name
            Key of the entries in JSON.
        more
            What else the document tells.
        """
        if self._format is ListFormat.JSON:
            document = {"format_version": 1, **more, name: self._entries}
            typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def walk(items: Iterable[Item], handle: Callable[[Item], bool], end: Callable[[], None]) -> None:
    """Handle items one by one; Ctrl-C waits until the one in hand is done.

    Parameters
    ----------
    items
        What is handled.
    handle
        Handles one; False when that failed.
    end
        Called at the end, also of an interrupted walk.

    Raises
    ------
    typer.Exit
        When the walk was interrupted, or something failed.
    """
    from tagcli.cli.interrupts import Interrupts, ignore_from_now_on

    n_failed = 0
    is_interrupted = False
    interrupts = Interrupts()
    try:
        with interrupts.watch():
            for item in items:
                with interrupts.held():
                    n_failed += not handle(item)
    except KeyboardInterrupt:
        is_interrupted = True
    end()
    if is_interrupted:
        ignore_from_now_on()
        raise typer.Exit(ExitCode.INTERRUPTED)
    if n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def describe_values(values: Iterable[str]) -> str:
    """Put the values of a field in a line."""
    from tagcli.cli.output import make_printable
    from tagcli.rows import make_readable

    return " | ".join(make_printable(make_readable(value)) for value in values)


def describe_plan(changes: Iterable[Any], *, fits_padding: bool | None) -> Iterator[str]:
    """Tell old and new values of each field that would change, and whether the file keeps its size."""
    for change in changes:
        old, new = describe_values(change.old) or "(nothing)", describe_values(change.new) or "(nothing)"
        yield f"    {change.name}: {old} -> {new}"
    if fits_padding is not None:
        yield "    fits into the padding" if fits_padding else "    the metadata grow or shrink, and the file with them"
