"""A JSON file beside a track whose container holds no tags, with what would stand in its fields."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagcli.errors import MetadataError
from tagcli.metadata.fields import SCORE_DECIMALS, Fields
from tagcli.replacement import write_file_beside

SUFFIX = ".tagcli.json"
FORMAT_VERSION = 1


def sidecar_path(path: Path) -> Path:
    """Name the file beside a track: its name and ``.tagcli.json`` behind it."""
    return path.with_name(path.name + SUFFIX)


def write_sidecar(path: Path, fields: Fields, *, is_dry_run: bool = False) -> bool:
    """Write what is to be stored about a track beside it.

    Parameters
    ----------
    path
        The track.
    fields
        What is to be stored.
    is_dry_run
        Whether it is only told what would happen.

    Returns
    -------
    bool
        Whether there is anything new to write.

    Raises
    ------
    MetadataError
        When the file cannot be written, or is another program's.
    """
    target = sidecar_path(path)
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "tags": [
            {"tag": tag, "score": round(score, SCORE_DECIMALS)}
            for tag, score in zip(fields.tags, fields.scores, strict=True)
        ],
        "model": fields.model,
        "settings": fields.settings,
        "genres": list(fields.genres),
        "moods": list(fields.moods),
    }
    if (stored := read_sidecar(path)) == content:
        return False
    if stored is None and os.path.lexists(target):
        message = f"{target} is in the way and not tagcli's; move it away and run again."
        raise MetadataError(message, path=path)
    if is_dry_run:
        return True
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    write_file_beside(path, target, text.encode())
    return True


def remove_sidecar(path: Path, *, is_dry_run: bool = False) -> bool:
    """Remove the file beside a track when it is tagcli's; tell whether there was one.

    Parameters
    ----------
    path
        The track.
    is_dry_run
        Whether it is only told.

    Raises
    ------
    MetadataError
        When it cannot be removed.
    """
    if read_sidecar(path) is None:
        return False
    if not is_dry_run:
        try:
            sidecar_path(path).unlink()
        except OSError as error:
            message = f"{sidecar_path(path)} cannot be removed ({error.strerror}); remove it by hand."
            raise MetadataError(message, path=path) from error
    return True


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Read what stands beside a track; None when there is nothing of tagcli's."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
        is_ours = isinstance(content, dict) and content.get("format_version") == FORMAT_VERSION
        if is_ours and all(isinstance(tag, dict) and "tag" in tag for tag in content.get("tags", [None])):
            return dict(content)
    return None
