"""Find the tracks of a collection, in a stable order."""

import fnmatch
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from tagcli.errors import CollectionError

_NAMES = "mp3 flac ogg oga opus spx m4a m4b mp4 aac wma asf wav aiff aif aifc wv ape mpc mka"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One share of a collection that several machines divide among them.

    A track's shard follows from its path below the folder that is searched: it is the same on each run, and on each
    machine wherever that folder is mounted.

    Parameters
    ----------
    index
        Which one, from 1 to `count`.
    count
        How many there are.

    Raises
    ------
    ValueError
        When there is no such shard.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            msg = f"there is no shard {self.index} of {self.count}; they are counted from 1"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read a shard such as ``2/5``.

        Raises
        ------
        ValueError
            For anything else.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None:
            msg = f"{text!r} is no shard such as 2/5, the second of five"
            raise ValueError(msg)
        return cls(index=int(match[1]), count=int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, below_root: PurePath) -> bool:
        """Tell whether a track belongs to the shard.

        Parameters
        ----------
        below_root
            The track's path below the folder that was searched; of a file that was given by itself, its name.
        """
        name = os.fsencode(below_root.as_posix())
        with suppress(UnicodeDecodeError):  # systems differ in how they compose letters; other bytes stay as they are
            name = unicodedata.normalize("NFC", name.decode("utf-8")).encode("utf-8")
        digest = hashlib.blake2b(name, digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1


def find_collection(paths: Sequence[Path], *, exclude: Sequence[str] = ()) -> list[Path]:
    """Find the audio files of a collection; see `find_tracks`.

    Parameters
    ----------
    paths, exclude
        As of `find_tracks`.

    Returns
    -------
    list of Path
        One or more.

    Raises
    ------
    CollectionError
        When there are none.
    """
    tracks = list(find_tracks(paths, exclude=exclude))
    if not tracks:
        places = ", ".join(str(path) for path in paths)
        msg = f"No audio was found in {places}; give files, or folders with audio in them."
        raise CollectionError(msg)
    return tracks


def find_tracks(
    roots: Iterable[str | Path], *, exclude: Sequence[str] = (), shard: Shard | None = None
) -> Iterator[Path]:
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
    shard
        The shard that is wanted; None for all. Each track is in one shard. What is not there, or cannot be listed, is
        in every one: it may be a folder, of which each shard then lacks its tracks.

    Yields
    ------
    pathlib.Path
        Tracks, files before sub-folders, each sorted by the bytes of the name.
    """
    seen_tracks: set[str] = set()
    seen_folders: set[tuple[int, int]] = set()
    unsearched: set[Path] = set()
    for root in map(Path, roots):
        is_folder = os.path.isdir(root)  # noqa: PTH112  # Path.is_dir raises where the way there is barred
        if not is_folder and not os.path.exists(root):  # noqa: PTH110  # the same of Path.exists
            unsearched.add(root)
        found = _walk(root, exclude, seen_folders, unsearched) if is_folder else iter([root])
        for path in found:
            identity = os.path.abspath(path)  # noqa: PTH100  # Path.absolute keeps "..", resolve() follows links
            if identity in seen_tracks:
                continue
            seen_tracks.add(identity)  # of any shard: another root must not bring the track into a second one
            if shard is not None and path not in unsearched:
                below_root = path.relative_to(root) if is_folder else PurePath(path.name)
                if not shard.holds(below_root):
                    continue
            yield path


def _walk(root: Path, exclude: Sequence[str], seen: set[tuple[int, int]], unsearched: set[Path]) -> Iterator[Path]:
    """Yield the tracks below `root`, and the folders that cannot be listed, which are added to `unsearched`.

    `seen` holds the (device, inode) of the folders walked so far.
    """
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
            unsearched.add(folder)
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
