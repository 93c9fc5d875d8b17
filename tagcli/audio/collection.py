"""Find the tracks of a collection, in a stable order."""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

EXTENSIONS = frozenset(
    [".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma", ".wav", ".aiff", ".aif", ".wv", ".ape", ".mka"]
)


def find_tracks(roots: Iterable[str | Path], *, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """Walk files and folders and yield every track once.

    A path that is given by name is yielded whatever its extension, also when it does not exist: whoever decodes it
    says so. Within a folder, hidden files and folders are passed over, and what cannot be listed is yielded itself
    so that it is reported. Links to folders are followed, each real folder once.

    Parameters
    ----------
    roots
        Files and folders.
    exclude
        Shell patterns; a file or folder is left out when its name, or its path below the root, matches one.

    Yields
    ------
    pathlib.Path
        Tracks, files before sub-folders, each sorted by the bytes of the name.
    """
    seen_tracks: set[str] = set()
    seen_folders: set[tuple[int, int]] = set()
    for root in map(Path, roots):
        found = _walk(root, root, exclude, seen_folders) if root.is_dir() else iter([root])
        for path in found:
            identity = os.path.abspath(path)  # noqa: PTH100  # Path.absolute keeps "..", resolve() follows links
            if identity not in seen_tracks:
                seen_tracks.add(identity)
                yield path


def _walk(folder: Path, root: Path, exclude: Sequence[str], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the tracks below `folder`; `seen` holds the (device, inode) of the folders walked so far."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            listing = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        yield folder
        return
    sub_folders: list[Path] = []
    for entry in listing:
        path = folder / entry.name
        if entry.name.startswith(".") or _is_excluded(path, root, exclude):
            continue
        if entry.is_dir():
            sub_folders.append(path)
        elif path.suffix.lower() in EXTENSIONS:
            yield path
    for sub_folder in sub_folders:
        yield from _walk(sub_folder, root, exclude, seen)


def _is_excluded(path: Path, root: Path, exclude: Sequence[str]) -> bool:
    """Tell whether a shell pattern matches the name or the path below the root."""
    below_root = path.relative_to(root).as_posix()
    return any(
        fnmatch.fnmatchcase(path.name, pattern) or fnmatch.fnmatchcase(below_root, pattern.rstrip("/"))
        for pattern in exclude
    )
