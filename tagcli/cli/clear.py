"""The command `clear`: take back what tagcli stored."""

import typer

from tagcli.cli.options import (
    DryRunOption,
    ExcludeOption,
    ListFormat,
    ListFormatOption,
    PathsArgument,
    PreserveTimeOption,
)


def clear(
    paths: PathsArgument,
    exclude: ExcludeOption = None,
    dry_run: DryRunOption = False,
    preserve_mtime: PreserveTimeOption = False,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Remove exactly what tagcli stored in files: its own fields, and the genres, moods and such that it added.

    Values that were there before, and those that you added since, stay; a sidecar of tagcli's goes. What
    `--genre replace` took the place of comes back with `tagcli undo` only.

    Example: tagcli clear --dry-run ~/Music
    """
    from contextlib import ExitStack
    from pathlib import Path
    from typing import Any

    from tagcli.annotate import write_patiently
    from tagcli.audio.collection import find_collection
    from tagcli.cli.listing import Listing, describe_plan, walk
    from tagcli.cli.output import make_printable
    from tagcli.errors import JournalError, MetadataError, UnsupportedContainerError
    from tagcli.journal import Journal, Recorder, default_journal_path
    from tagcli.metadata import plan_removal
    from tagcli.metadata.sidecar import remove_sidecar
    from tagcli.rows import Written, describe_changes, describe_path, make_readable

    tracks = find_collection(paths, exclude=exclude or [])
    listing = Listing(format_)
    with ExitStack() as stack:
        recorder = None
        if not dry_run:
            journal = stack.enter_context(Journal(default_journal_path()))
            recorder = Recorder(journal, "clear", keeps_mtime=preserve_mtime)

        def handle(path: Path) -> bool:
            entry: dict[str, Any] = {**describe_path(path), "written": None, "message": None}
            done = Written.PLANNED if recorder is None else Written.WRITTEN
            try:
                try:
                    plan, _ = write_patiently(lambda: plan_removal(path), recorder)
                    changes, fits = plan.changes, plan.fits
                    entry["written"] = (done if changes else Written.UNCHANGED).value
                except UnsupportedContainerError as error:
                    changes, fits = (), None
                    entry |= {"written": Written.UNSUPPORTED.value, "message": make_readable(error.message)}
                if remove_sidecar(path, is_dry_run=recorder is None):
                    entry |= {"written": done.value, "message": None}
            except (MetadataError, JournalError) as error:
                changes, fits = (), None
                entry |= {"written": Written.FAILED.value, "message": make_readable(error.message)}
                typer.echo(make_printable(make_readable(error.message)), err=True)
            lines: list[str] = []
            if changes:
                entry["changes"] = describe_changes(changes)
            if changes and recorder is None:
                entry["fits_padding"] = fits
                lines = list(describe_plan(changes, fits_padding=fits))
            listing.add(entry, [f"{make_printable(entry['path'])}\t{entry['written']}", *lines])
            return bool(entry["written"] != Written.FAILED.value)

        walk(tracks, handle, listing.end)
