"""The scores of a system, whatever it is: a model of this program, or a file that another one has written."""

import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from tagcli.errors import DatasetError

SCORES_SUFFIX = ".npz"
_DAMAGES = (ValueError, KeyError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class SystemScores:
    """What a system says of examples.

    Parameters
    ----------
    name
        What it is called, for people.
    tags
        Its vocabulary.
    ids
        Of the examples, as `tagcli.datasets.Manifest.ids` has them.
    scores
        [shape=(n_examples, n_tags)], the higher the likelier; a row of nan where an example could not be heard.

    Raises
    ------
    ValueError
        When these are not parallel, or a tag or an id occurs twice.
    """

    name: str
    tags: tuple[str, ...]
    ids: tuple[str, ...]
    scores: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        shape = (len(self.ids), len(self.tags))
        if self.scores.shape != shape:
            msg = f"{shape[0]} ids and {shape[1]} tags want scores of that shape, not {self.scores.shape}"
            raise ValueError(msg)
        for what, names in (("tag", self.tags), ("id", self.ids)):
            if len(set(names)) < len(names):
                msg = f"the {what} {_find_twice(names)!r} occurs twice"
                raise ValueError(msg)


def read_scores(path: Path, *, name: str | None = None) -> SystemScores:
    """Read stored scores: an npz file of ``scores`` [shape=(n_examples, n_tags)], ``tags`` and ``ids``.

    Parameters
    ----------
    path
        The file.
    name
        What the system is called; None for the file's name.

    Raises
    ------
    DatasetError
        When it cannot be read, holds Python objects, or its arrays do not fit together.
    """
    try:
        with path.open("rb") as file:  # which numpy leaves open when the archive is damaged
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                msg = "it is a single array"
                raise ValueError(msg)
            scores, tags, ids = arrays["scores"], arrays["tags"], arrays["ids"]
        if not (np.issubdtype(scores.dtype, np.floating) and scores.ndim == 2):
            msg = f"scores are a table of floating-point numbers, not {scores.dtype} {scores.shape}"
            raise ValueError(msg)
        return SystemScores(name=name or path.stem, tags=_to_texts(tags), ids=_to_texts(ids), scores=scores)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}); check the path."
        raise DatasetError(msg, path=path) from error
    except _DAMAGES as error:
        reason = error.args[0] if error.args else "it is damaged"
        msg = f"{path} holds no scores that can be used ({reason}); store scores (n_examples, n_tags), tags and ids."
        raise DatasetError(msg, path=path) from error


def write_scores(system: SystemScores, file: IO[bytes]) -> None:
    """Write scores as `read_scores` reads them."""
    np.savez(
        file,
        scores=system.scores,
        tags=np.array(system.tags, dtype=np.str_),
        ids=np.array(system.ids, dtype=np.str_),
    )


def _to_texts(array: npt.NDArray[np.generic]) -> tuple[str, ...]:
    """Read an array of texts, or of whole numbers, which identifiers may be.

    Raises
    ------
    ValueError
        When it is of another kind.
    """
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        msg = f"tags and ids are lists of texts, not {array.dtype} {array.shape}"
        raise ValueError(msg)
    if array.dtype.kind == "S":
        return tuple(value.decode("utf-8", "surrogateescape") for value in array.tolist())
    return tuple(map(str, array.tolist()))


def _find_twice(names: tuple[str, ...]) -> str:
    """Find a name that occurs twice."""
    return next(name for name, count in Counter(names).items() if count > 1)
