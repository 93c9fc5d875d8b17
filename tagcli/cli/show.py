"""The command `show`: what is stored in files, and what players make of it."""

import json
from typing import Any

import typer

from tagcli.cli.options import AsOption, ExcludeOption, ListFormat, ListFormatOption, PathsArgument
from tagcli.errors import ExitCode, MetadataError, UnsupportedContainerError


def show(
    paths: PathsArgument,
    as_: AsOption = None,
    exclude: ExcludeOption = None,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Print the metadata that files hold, tagcli's own fields among them, or what a player makes of them.

    Example: tagcli show --as navidrome ~/Music/song.mp3
    """
    from tagcli.audio.collection import find_collection
    from tagcli.metadata import read_metadata
    from tagcli.metadata.seen import read_as
    from tagcli.metadata.sidecar import read_sidecar
    from tagcli.rows import describe_path, make_readable

    tracks = find_collection(paths, exclude=exclude or [])
    n_failed = 0
    shown = []
    for path in tracks:
        entry: dict[str, Any] = dict(describe_path(path))
        try:
            metadata = read_metadata(path)
        except UnsupportedContainerError as error:
            entry["unsupported"] = make_readable(error.message)
            if (beside := read_sidecar(path)) is not None:
                entry["sidecar"] = beside
        except MetadataError as error:
            n_failed += 1
            entry["error"] = make_readable(error.message)
        else:
            entry["container"] = metadata.container
            entry["version"] = metadata.version
            entry["fields"] = [{"field": field.field, "values": list(field.values)} for field in metadata.fields]
            if as_ is not None:
                entry["seen"] = [
                    {"field": seen.field, "values": list(seen.values), "warnings": list(seen.warnings)}
                    for seen in read_as(metadata, as_)
                ]
        shown.append(entry)
        if format_ is ListFormat.TABLE:
            _print_lines(entry)
    if format_ is ListFormat.JSON:
        head = {"format_version": 1, **({"as": as_} if as_ is not None else {})}
        typer.echo(json.dumps({**head, "tracks": shown}, ensure_ascii=False, indent=2))
    if n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _print_lines(entry: dict[str, Any]) -> None:
    """Print one file's fields, one a line, with the warnings about each under it."""
    typer.echo(f"{entry['path']}  {entry.get('version') or ''}".rstrip())
    for trouble in ("error", "unsupported"):
        if trouble in entry:
            typer.echo(f"  {entry[trouble]}", err=True)
    if "sidecar" in entry:
        tags = " | ".join(str(tag["tag"]) for tag in entry["sidecar"]["tags"])
        typer.echo(f"  {'beside it':<24} {tags}".rstrip())
    for field in entry.get("seen", entry.get("fields", [])):
        typer.echo(f"  {field['field']:<24} {' | '.join(field['values'])}".rstrip())
        for warning in field.get("warnings", []):
            typer.echo(f"    {warning}")
