"""Where audio that is learned from is kept, how much room it takes, and how that is had back."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from tagcli.errors import DatasetError

Kind = Literal["clips", "lessons"]
KINDS: tuple[Kind, ...] = ("clips", "lessons")


@dataclass(frozen=True, kw_only=True)
class KeptAudio:
    """One kind of what is kept.

    Parameters
    ----------
    kind
        ``clips``: decoded excerpts; ``lessons``: what students hear, with what their teachers say.
    path
        The folder, which need not be there.
    size
        In bytes.
    """

    kind: Kind
    path: Path
    size: int


def folder_of(kind: Kind) -> Path:
    """Say where a kind of audio is kept."""
    return platformdirs.user_cache_path("tagcli") / kind


def measure_kept() -> list[KeptAudio]:
    """Measure what is kept, of each kind."""
    return [KeptAudio(kind=kind, path=folder_of(kind), size=_measure(folder_of(kind))) for kind in KINDS]


def clear_kept() -> int:
    """Delete what is kept; trainings decode it, or have their teachers hear it, again. Gives the bytes that are free.

    Raises
    ------
    DatasetError
        When something cannot be deleted.
    """
    size = 0
    for kept in measure_kept():
        try:
            shutil.rmtree(kept.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            msg = f"{kept.path} cannot be deleted ({error.strerror}); check its permissions."
            raise DatasetError(msg, path=kept.path) from error
        size += kept.size
    return size


def _measure(folder: Path) -> int:
    """Add the sizes of the files in a folder; one that is just going counts nothing."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return size
