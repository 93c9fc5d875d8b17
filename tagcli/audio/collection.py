"""Find the tracks of a collection, in a stable order."""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_NAMES = "mp3 flac ogg oga opus m4a mp4 aac wma wav aiff aif wv ape mka"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())


def find_tracks(roots: Iterable[str | Path], *, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """Walk files and folders and yield every track once.

    A path that is given by name is yielded whatever its extension, also when it does not exist: whoever decodes it
    says so. Within a folder, hidden files and folders are passed over, and what cannot be listed is yielded itself
    so that it is reported. Links to folders are followed, each real folder once, but none to a folder above its root.

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
        is_folder = os.path.isdir(root)  # noqa: PTH112  # Path.is_dir raises where the way there is barred
        found = _walk(root, exclude, seen_folders) if is_folder else iter([root])
        for path in found:
            identity = os.path.abspath(path)  # noqa: PTH100  # Path.absolute keeps "..", resolve() follows links
            if identity not in seen_tracks:
                seen_tracks.add(identity)
                yield path


def _walk(root: Path, exclude: Sequence[str], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the tracks below `root`; `seen` holds the (device, inode) of the folders walked so far."""
    to_walk = [root]
    above = set()
    for parent in root.resolve().parents:
        with suppress(OSError):
            above.add(_identify(parent))
    while to_walk:
        folder = to_walk.pop()
        try:
            identity = _identify(folder)
            if identity in seen or identity in above:
                continue
            seen.add(identity)
            with os.scandir(folder) as entries:
                listing = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError:
            yield folder
            continue
        sub_folders: list[Path] = []
        for entry in listing:
            path = folder / entry.name
            if entry.name.startswith(".") or _is_excluded(path, root, exclude):
                continue
            if _is_folder(entry):
                sub_folders.append(path)
            elif path.suffix.lower() in EXTENSIONS:
                yield path
        to_walk += reversed(sub_folders)


def _identify(folder: Path) -> tuple[int, int]:
    """Give device and inode of a folder."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Tell a folder from all else; a link that only leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_excluded(path: Path, root: Path, exclude: Sequence[str]) -> bool:
    """Tell whether a shell pattern matches the name or the path below the root."""
    below_root = path.relative_to(root).as_posix()
    return any(
        fnmatch.fnmatchcase(path.name, pattern) or fnmatch.fnmatchcase(below_root, pattern)
        for pattern in (pattern.rstrip("/") for pattern in exclude)
    )
