"""The command `show`: what is stored in files."""

import json

import typer

from tagcli.cli.options import ExcludeOption, ListFormat, ListFormatOption, PathsArgument
from tagcli.errors import ExitCode, MetadataError, UnsupportedContainerError


def show(
    paths: PathsArgument,
    exclude: ExcludeOption = None,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Print the metadata that files hold, tagcli's own fields among them.

    Example: tagcli show ~/Music/song.mp3
    """
    from tagcli.audio.collection import find_collection
    from tagcli.metadata import read_metadata
    from tagcli.rows import describe_path, make_readable

    tracks = find_collection(paths, exclude=exclude or [])
    n_failed = 0
    shown = []
    for path in tracks:
        entry: dict[str, object] = dict(describe_path(path))
        try:
            metadata = read_metadata(path)
        except UnsupportedContainerError as error:
            entry["unsupported"] = make_readable(error.message)
        except MetadataError as error:
            n_failed += 1
            entry["error"] = make_readable(error.message)
        else:
            entry["container"] = metadata.container
            entry["version"] = metadata.version
            entry["fields"] = [{"field": field.field, "values": list(field.values)} for field in metadata.fields]
        shown.append(entry)
        if format_ is ListFormat.TABLE:
            _print_lines(entry)
    if format_ is ListFormat.JSON:
        typer.echo(json.dumps({"format_version": 1, "tracks": shown}, ensure_ascii=False, indent=2))
    if n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _print_lines(entry: dict[str, object]) -> None:
    """Print one file's fields, one a line."""
    typer.echo(f"{entry['path']}  {entry.get('version') or ''}".rstrip())
    for trouble in ("error", "unsupported"):
        if trouble in entry:
            typer.echo(f"  {entry[trouble]}", err=True)
    fields = entry.get("fields")
    for field in fields if isinstance(fields, list) else []:
        typer.echo(f"  {field['field']:<24} {' | '.join(field['values'])}")
