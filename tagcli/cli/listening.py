"""The systems that are judged: weights that listen to a data set, with a bar, and scores that somebody has stored."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagcli.audio.clips import ClipChoice
from tagcli.datasets import Manifest
from tagcli.evaluation import SCORES_SUFFIX, SystemScores, find_judgeable, match_tags, read_scores
from tagcli.tags import Category

if TYPE_CHECKING:
    from tagcli.errors import TagcliError

logger = logging.getLogger(__name__)

_TOLD_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Listening:
    """How weights listen.

    Parameters
    ----------
    choice
        Clips of an excerpt.
    device, batch_size, n_workers
        As the user chose.
    is_quiet
        Whether nothing is shown meanwhile.
    """

    choice: ClipChoice
    device: str
    batch_size: int
    n_workers: int | None
    is_quiet: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """A system with its scores.

    Parameters
    ----------
    scores
        Of the data set.
    categories
        Kinds of words, by tag, where the system knows them.
    trained_on
        Artists that it was trained on, as its checkpoint keeps them.
    model
        Name and SHA-256 of the checkpoint; None for stored scores.
    checkpoint
        Where it lies.
    n_failed
        Examples that could not be heard just now.
    """

    scores: SystemScores
    categories: dict[str, Category] | None = None
    trained_on: tuple[str, ...] = ()
    model: dict[str, str] | None = None
    checkpoint: Path | None = None
    n_failed: int = 0


def part_stored(text: str) -> tuple[str | None, Path | None]:
    """Tell stored scores, by how their file's name ends, from the name of weights: one of the two is None."""
    return (None, Path(text)) if Path(text).suffix == SCORES_SUFFIX else (text, None)


def find_tags(name: str | None, stored: Path | None) -> tuple[str, ...]:
    """Find the vocabulary of a system that `find_system` gets; nothing is heard for it.

    Raises
    ------
    TagcliError
        When there is no such system.
    """
    if stored is not None:
        return read_scores(stored).tags
    from tagcli.tagger import open_tagger

    return open_tagger(name).header.vocabulary.tags


def find_system(name: str | None, stored: Path | None, manifest: Manifest, listening: Listening) -> System:
    """Get the scores of a system: read them, or listen.

    Parameters
    ----------
    name
        Of weights; or what stored scores are to be called, None for the name of their file.
    stored
        File of stored scores; None to listen.
    manifest
        The data set.
    listening
        How to listen.

    Raises
    ------
    TagcliError
        When there is no such system, or it has nothing in common with the data set.
    """
    if stored is not None:
        return System(scores=read_scores(stored, name=name))
    if name is None:
        msg = "a system has a name or stored scores"
        raise ValueError(msg)
    from tagcli.tagger import open_tagger

    tagger = open_tagger(name, device=listening.device)
    header = tagger.header
    vocabulary = header.vocabulary
    rows = find_judgeable(manifest, match_tags(manifest.tags, vocabulary.tags))
    places = {
        manifest.ids[row]: row for row in reversed(rows.tolist())
    }  # an example that is listed twice is heard once
    part = manifest.take(sorted(places.values()))
    module = tagger.module
    from tagcli.audio.quiet import quiet_decoders
    from tagcli.datasets.audio import DecodedAudio
    from tagcli.evaluation.scoring import score_examples

    failures = _Failures()
    with quiet_decoders(), _show_progress(name, len(part), is_shown=not listening.is_quiet) as show:
        scores = score_examples(
            module,
            DecodedAudio(part, sample_rate=header.front_end.sample_rate),
            choice=listening.choice,
            batch_size=listening.batch_size,
            n_workers=listening.n_workers,
            on_failure=failures.note,
            on_progress=show,
        )
    failures.tell()
    return System(
        scores=SystemScores(name=name, tags=vocabulary.tags, ids=part.ids, scores=scores),
        categories=dict(zip(vocabulary.tags, vocabulary.categories, strict=True)),
        trained_on=header.provenance.artists,
        model={"name": header.name, "sha256": tagger.sha256},
        checkpoint=tagger.path,
        n_failed=failures.n_failed,
    )


class _Failures:
    """Counts examples that cannot be heard, and keeps what is told of the first ones."""

    def __init__(self) -> None:
        self.n_failed = 0
        self._messages: list[str] = []

    def note(self, row: int, error: "TagcliError") -> None:
        """Count one."""
        self.n_failed += 1
        if len(self._messages) < _TOLD_FAILURES:
            self._messages.append(error.message)

    def tell(self) -> None:
        """Say what was the matter."""
        for message in self._messages:
            logger.warning("%s", message)
        if self.n_failed > len(self._messages):
            logger.warning("... and %d more.", self.n_failed - len(self._messages))


@contextmanager
def _show_progress(name: str, n_examples: int, *, is_shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr when that is a terminal."""
    from tqdm import tqdm

    with tqdm(desc=name, total=n_examples, unit="example", leave=False, disable=None if is_shown else True) as bar:

        def show(n_done: int) -> None:
            bar.update(n_done - bar.n)

        yield show
