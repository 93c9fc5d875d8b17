"""The commands `cache` and `errors`: what is remembered between runs."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tagcli.cli.options import ListFormat, ListFormatOption

cache_app = typer.Typer(no_args_is_help=True, help="Look after the scores that are remembered between runs.")


@cache_app.command("info")
def info(format_: ListFormatOption = ListFormat.TABLE) -> None:
    """Print where the cache lies, how large it is, and what it remembers; and what trainings have kept.

    Example: tagcli cache info
    """
    from tagcli.datasets.kept_audio import measure_kept
    from tagcli.store import Store, default_store_path
    from tagcli.tagger.memory import SETTINGS_END

    with Store(default_store_path()) as store:
        facts = store.describe(settings_end=SETTINGS_END)
    kept = measure_kept()
    if format_ is ListFormat.JSON:
        fields = asdict(facts) | {
            "path": str(facts.path),
            "n_results": [
                {"model": model, "settings": settings, "n": n} for (model, settings), n in facts.n_results.items()
            ],
            "training": [asdict(each) | {"path": str(each.path)} for each in kept],
        }
        typer.echo(json.dumps({"format_version": 1, **fields}, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{'file':<10} {facts.path}")
    typer.echo(f"{'size':<10} {_describe_size(facts.size)}")
    typer.echo(f"{'tracks':<10} {facts.n_payloads} in {facts.n_files} files")
    typer.echo(f"{'failures':<10} {facts.n_failures}")
    for (model, settings), n in facts.n_results.items():
        typer.echo(f"{'results':<10} {n} of {model}, {settings}")
    for each in kept:
        typer.echo(f"{each.kind:<10} {_describe_size(each.size)} in {each.path}, for training")


@cache_app.command("prune")
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be forgotten, and forget nothing.")
    ] = False,
) -> None:
    """Forget files that are gone, and scores that no file has any more or another version heard otherwise.

    A drive that is not connected counts as gone: connect it first.

    Example: tagcli cache prune --dry-run
    """
    from tagcli.store import Store, default_store_path
    from tagcli.tagger.memory import SETTINGS_END

    with Store(default_store_path()) as store:
        gone = [path for path in store.list_paths() if not os.path.lexists(path)]
        pruned = store.forget(gone, settings_end=SETTINGS_END, is_dry_run=dry_run)
    are = "would be" if dry_run else "are"
    typer.echo(f"{pruned.n_files} files and {pruned.n_results} results {are} forgotten.")


@cache_app.command("clear")
def clear(
    training: Annotated[
        bool, typer.Option("--training", help="Delete what trainings have kept in place of it, while none is at work.")
    ] = False,
) -> None:
    """Forget every score; a damaged cache is removed, too. Files of music are not touched.

    Example: tagcli cache clear
    """
    if training:
        from tagcli.datasets.kept_audio import clear_kept

        typer.echo(f"{_describe_size(clear_kept())} are free again.")
        return
    from tagcli.store import clear_store, default_store_path

    typer.echo(f"{_describe_size(clear_store(default_store_path()))} are free again.")


def errors(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Only what lies at or below these.", show_default="everything"),
    ] = None,
    m3u: Annotated[
        bool, typer.Option("--m3u", help="Print a playlist of them, for a player or another program.")
    ] = False,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """List tracks that failed when they were listened to, and have not changed since.

    They are not tried again until their bytes change, or `tagcli predict --retry-failed` asks for it.

    Example: tagcli errors --m3u ~/Music
    """
    from tagcli.cli.output import make_printable
    from tagcli.files import FileIdentity
    from tagcli.rows import describe_path, make_readable
    from tagcli.store import PATH_MARK, Store, default_store_path
    from tagcli.tagger.memory import SETTINGS_END

    if m3u and format_ is ListFormat.JSON:
        msg = "A playlist is no JSON; give one of the two."
        raise typer.BadParameter(msg, param_hint="--m3u")
    roots = [os.path.abspath(path) for path in paths or []]  # noqa: PTH100  # as the tracks were found, links kept
    entries = []
    with Store(default_store_path()) as store:
        for failure in store.list_failures(settings_end=SETTINGS_END):
            name = os.fsdecode(failure.path)
            if roots and not any(_lies_in(name, root) for root in roots):
                continue
            try:
                identity = FileIdentity.from_status(Path(name).stat())
            except OSError:
                continue
            if failure.is_of(identity):
                entries.append((Path(name), failure.code, failure.message.replace(PATH_MARK, name)))
    if format_ is ListFormat.JSON:
        listed = [
            {**describe_path(path), "reason": code, "message": make_readable(message)}
            for path, code, message in entries
        ]
        typer.echo(json.dumps({"format_version": 1, "tracks": listed}, ensure_ascii=False, indent=2))
        return
    if m3u:
        typer.echo("#EXTM3U")
    for path, code, message in entries:
        if m3u and "\n" in str(path):
            typer.echo(f"{make_printable(make_readable(str(path)))} is left out: its name has a line break.", err=True)
        elif m3u:
            typer.echo(os.fsencode(path))
        else:
            typer.echo(f"{code}\t{make_printable(make_readable(message))}")


def _lies_in(path: str, root: str) -> bool:
    """Tell whether a path is a root or below it; both absolute."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _describe_size(n_bytes: int) -> str:
    """Give a size for people."""
    return f"{n_bytes / 1e6:.1f} MB"
