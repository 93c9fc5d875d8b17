"""The commands `undo`, `history` and `verify`: what was written, the way back, and whether the audio is the same."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagcli.cli.options import ExcludeOption, ListFormat, ListFormatOption, PathsArgument
from tagcli.errors import ConfigurationError

if TYPE_CHECKING:
    from tagcli.journal import Entry, Journal

_LARGE_BYTES = 1 << 30

OnlyPathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Only what lies at or below these.", show_default="everything"),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask; nobody is asked who is not at a terminal.")]
RunOption = Annotated[
    int | None, typer.Option("--run", metavar="ID", help="A run of `tagcli history`.", show_default="see above")
]


def undo(
    paths: OnlyPathsArgument = None,
    run: RunOption = None,
    yes: YesOption = False,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Put files back as they were before a run wrote into them: the very same bytes, and the time of modification.

    Without --run it is the last run that has something to undo. A file that has changed since is left alone, and the
    exit code is 3. An undo that was interrupted goes on when it is given again.

    Example: tagcli undo --run 12
    """
    from tagcli.cli.listing import Listing, walk
    from tagcli.cli.output import make_printable
    from tagcli.errors import JournalError, MetadataError
    from tagcli.journal import Journal, default_journal_path
    from tagcli.journal.undo import undo_write
    from tagcli.rows import describe_path, make_readable

    with Journal(default_journal_path()) as journal:
        number = _find_run(journal, paths) if run is None else run
        entries = [entry for entry in _list_entries(journal, number, paths) if not entry.is_undone]
        _check_run(journal, run)
        listing = Listing(format_)
        n_undone = 0
        if entries and not yes and is_terminal():
            typer.confirm(f"Put {len(entries)} files of run {number} back as they were?", abort=True, err=True)

        def handle(entry: "Entry") -> bool:
            nonlocal n_undone
            told: dict[str, Any] = {**describe_path(entry.path), "status": "failed", "message": None}
            try:
                told["status"] = undo_write(journal, entry).value
                n_undone += 1
            except (MetadataError, JournalError) as error:
                told["message"] = make_readable(error.message)
                typer.echo(make_printable(told["message"]), err=True)
            listing.add(told, [f"{make_printable(told['path'])}\t{told['status']}"])
            return told["message"] is None

        def end() -> None:
            listing.end(run=number)
            if entries and not n_undone:
                typer.echo(f"Nothing of run {number} was put back; give --run for another one.", err=True)

        walk(entries, handle, end)
        if not entries:
            typer.echo("There is nothing to undo.", err=True)


def history(
    paths: OnlyPathsArgument = None,
    run: RunOption = None,
    prune: Annotated[
        int | None,
        typer.Option("--prune", metavar="DAYS", min=0, help="Forget runs older than so many days, for good."),
    ] = None,
    yes: YesOption = False,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """List the runs that wrote into files, the oldest first; with --run or PATH the files, the latest write first.

    Nothing is forgotten by itself: --prune makes room. What is forgotten cannot be undone any more.

    Example: tagcli history --run 12
    """
    from tagcli.cli.listing import Listing, describe_plan
    from tagcli.cli.output import make_printable
    from tagcli.journal import Journal, default_journal_path
    from tagcli.rows import describe_changes, describe_path

    listing = Listing(format_)
    with Journal(default_journal_path()) as journal:
        if prune is not None:
            if not yes and is_terminal():
                typer.confirm(f"Forget what would undo runs older than {prune} days?", abort=True, err=True)
            typer.echo(f"{journal.prune(days=prune)} writes are forgotten.", err=True)
        if run is not None or paths:
            _check_run(journal, run)
            for entry in _list_entries(journal, run, paths):
                state = "undone" if entry.is_undone else "written"
                told = {
                    **describe_path(entry.path),
                    "run": entry.run,
                    "started": entry.started,
                    "status": state,
                    "payload_sha256": entry.payload_sha256,
                    "changes": describe_changes(entry.changes),
                }
                then = ", undone" if entry.is_undone else ""
                first = f"{make_printable(str(told['path']))}\twritten by run {entry.run} ({entry.started}){then}"
                listing.add(told, [first, *describe_plan(entry.changes, fits_padding=None)])
            listing.end("writes")
        else:
            for known in journal.list_runs():
                told = {
                    "run": known.number,
                    "started": known.started,
                    "command": known.command,
                    "n_writes": known.n_writes,
                    "n_undone": known.n_undone,
                    "n_bytes": known.n_bytes,
                }
                done = f", {known.n_undone} undone" if known.n_undone else ""
                listing.add(
                    told, [f"{known.number}\t{known.started}\t{known.command}\t{known.n_writes} files written{done}"]
                )
            listing.end("runs", file=str(journal.path), size=journal.measure())
        warn_of_size(journal)


def verify(
    paths: PathsArgument,
    exclude: ExcludeOption = None,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Tell whether the audio of files is, bit for bit, what it was when tagcli wrote into them; nothing is decoded.

    `same` or `changed`; `unknown` when tagcli never wrote into a file with this audio. When one has changed, the exit
    code is 3.

    Example: tagcli verify ~/Music
    """
    from tagcli.audio.collection import find_collection
    from tagcli.cli.listing import Listing, walk
    from tagcli.cli.output import make_printable
    from tagcli.errors import MetadataError
    from tagcli.journal import Journal, default_journal_path
    from tagcli.journal.undo import Identity, verify_audio
    from tagcli.rows import describe_path, make_readable

    tracks = find_collection(paths, exclude=exclude or [])
    listing = Listing(format_)
    with Journal(default_journal_path()) as journal:

        def handle(path: Path) -> bool:
            told: dict[str, Any] = {**describe_path(path), "status": "failed", "run": None, "message": None}
            try:
                identity, entry = verify_audio(journal, path)
            except MetadataError as error:
                told["message"] = make_readable(error.message)
                typer.echo(make_printable(told["message"]), err=True)
            else:
                told |= {"status": identity.value, "run": entry.run if entry else None}
            since = f" since run {told['run']}" if told["run"] else ""
            listing.add(told, [f"{make_printable(told['path'])}\t{told['status']}{since}"])
            return told["status"] in (Identity.SAME, Identity.UNKNOWN)

        walk(tracks, handle, listing.end)


def is_terminal() -> bool:
    """Tell whether somebody is there who can answer."""
    return sys.stdin.isatty()


def warn_of_size(journal: "Journal") -> None:
    """Say when the journal has become large; it is for the user to decide what is forgotten."""
    import logging

    n_bytes = journal.measure()
    if n_bytes > _LARGE_BYTES:
        logging.getLogger(__name__).warning(
            "The journal takes %.1f GB; `tagcli history --prune DAYS` forgets what you will not undo.", n_bytes / 1e9
        )


def _check_run(journal: "Journal", run: int | None) -> None:
    """Refuse a run that there is not."""
    if run is not None and run not in {known.number for known in journal.list_runs()}:
        msg = f"There is no run {run}; see `tagcli history`."
        raise ConfigurationError(msg)


def _find_run(journal: "Journal", paths: list[Path] | None) -> int | None:
    """Find the last run that has something to undo."""
    return next((entry.run for entry in _list_entries(journal, None, paths) if not entry.is_undone), None)


def _list_entries(journal: "Journal", run: int | None, paths: list[Path] | None) -> "list[Entry]":
    """Give the writes of a run, or of all, that lie at or below paths; links are followed, as the journal does."""
    roots = [path.resolve() for path in paths or []]
    return [
        entry
        for entry in journal.list_entries(run)
        if not roots or any(entry.path == root or root in entry.path.parents for root in roots)
    ]
