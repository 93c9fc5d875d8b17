"""How the spectral analyses take tracks in: found, drawn at random, and heard with a bar."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tagcli.analysis.spectra import Spectrum
    from tagcli.errors import AudioError
    from tagcli.features.config import FrontEndConfig

logger = logging.getLogger(__name__)

DEFAULT_FRONT_END = "mel96-12k"
DEFAULT_SECONDS = 29.0

FolderArgument = Annotated[
    list[Path],
    typer.Argument(metavar="FOLDER", help="Audio files, and folders to search.", show_default=False, readable=False),
]
SecondsOption = Annotated[
    float, typer.Option("--seconds", metavar="S", min=1.0, help="How much of a track's middle is heard, at most.")
]
TracksOption = Annotated[
    int | None,
    typer.Option("--tracks", metavar="N", min=1, help="Take so many, drawn at random.", show_default="all"),
]


def find_front_end(name: str) -> "FrontEndConfig":
    """Find a front end by its name."""
    from tagcli.features.config import FRONT_ENDS

    if name not in FRONT_ENDS:
        msg = f"{name!r} is none of {', '.join(FRONT_ENDS)}"
        raise typer.BadParameter(msg, param_hint="--front-end")
    return FRONT_ENDS[name]


def choose_tracks(paths: Sequence[Path], *, n_most: int | None, seed: int) -> list[Path]:
    """Find the tracks of a collection, or draw some of them.

    Raises
    ------
    CollectionError
        When there are none.
    """
    from tagcli.audio.collection import find_collection

    tracks = find_collection(paths)
    if n_most is None or n_most >= len(tracks):
        return tracks
    import numpy as np

    drawn = np.random.default_rng(seed).choice(len(tracks), n_most, replace=False)
    return [tracks[row] for row in sorted(drawn.tolist())]


class Hearing:
    """Hears tracks, shows how far it is, and counts those that cannot be heard.

    Parameters
    ----------
    tracks
        Files.
    max_seconds
        How much of each.
    is_quiet
        Whether no bar is shown.
    """

    def __init__(self, tracks: Sequence[Path], *, max_seconds: float, is_quiet: bool) -> None:
        self._tracks = tracks
        self._max_seconds = max_seconds
        self._is_quiet = is_quiet
        self._failed: set[Path | None] = set()

    @property
    def n_failed(self) -> int:
        """Number of tracks that could not be heard."""
        return len(self._failed)

    @contextmanager
    def hear(self, front_end: "FrontEndConfig", name: str) -> "Iterator[Iterator[Spectrum]]":
        """Give the spectra of the tracks, by one front end."""
        from tqdm import tqdm

        from tagcli.analysis.spectra import read_spectra
        from tagcli.audio.quiet import quiet_decoders

        is_hidden = True if self._is_quiet else None  # None: hidden when stderr is no terminal
        bar = tqdm(desc=name, total=len(self._tracks), unit="track", leave=False, disable=is_hidden)
        with quiet_decoders(), bar:
            yield read_spectra(
                self._tracks,
                front_end,
                max_seconds=self._max_seconds,
                on_failure=self._note,
                on_track=bar.update,
            )

    def _note(self, error: "AudioError") -> None:
        """Tell of a failure, once for each track."""
        if error.path not in self._failed:
            self._failed.add(error.path)
            logger.warning("%s", error.message)
