"""What tagcli wants stored in a file, what a write would change, and what a file holds."""

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tagcli.container import Container
from tagcli.files import FileIdentity

TAGS_FIELD = "TAGCLI_TAGS"
SCORES_FIELD = "TAGCLI_SCORES"
MODEL_FIELD = "TAGCLI_MODEL"
SETTINGS_FIELD = "TAGCLI_SETTINGS"

SEPARATORS = ";/,"
"""Readers cut a stored tag in two at any of these."""
SCORE_DECIMALS = 3
SCORE_TOLERANCE = 1.5 * 10**-SCORE_DECIMALS
"""A score whose last stored digit moved by one, as between two machines, is not worth a rewrite."""


class BrokenTagError(Exception):
    """Metadata that cannot be walked to its end; translated where the file is known."""


class GenrePolicy(StrEnum):
    """What happens to the genre field."""

    FILL = "fill"
    APPEND = "append"
    REPLACE = "replace"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What tagcli wants stored about one track.

    Parameters
    ----------
    tags
        Best first; may be empty.
    scores
        [shape=(n_tags,)] in [0, 1], parallel to `tags`.
    model
        Name of the model. Empty: the field is not stored.
    settings
        Settings of the run that decide the scores. Empty: the field is not stored.
    genres
        Candidates for the genre field, best first; may be empty.

    Raises
    ------
    ValueError
        When the tags and scores do not pair up, a score lies outside of [0, 1], or a text cannot be stored: a tag or
        genre that is empty or holds one of ``; / ,``, or any text with a NUL or half a surrogate pair.
    """

    tags: tuple[str, ...]
    scores: tuple[float, ...]
    model: str
    settings: str
    genres: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.tags) != len(self.scores):
            message = f"{len(self.tags)} tags and {len(self.scores)} scores do not pair up."
            raise ValueError(message)
        for score in self.scores:
            if math.isnan(score) or not 0 <= score <= 1:
                message = f"The score {score} does not lie in [0, 1]."
                raise ValueError(message)
        for tag in self.tags + self.genres:
            if not tag.strip() or any(separator in tag for separator in SEPARATORS):
                message = f"The tag {tag!r} is empty or holds one of {SEPARATORS!r}; map it to another name."
                raise ValueError(message)
        for text in (*self.tags, *self.genres, self.model, self.settings):
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                message = f"The text {text!r} cannot be stored."
                raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that a write would change.

    Parameters
    ----------
    field
        Name as the container knows it, such as ``TXXX:TAGCLI_TAGS`` or ``TCON``.
    old
        Values stored now; empty when the field is absent.
    new
        Values to be stored; empty when the field is to be removed.
    """

    field: str
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WritePlan:
    """What a write would change in one file.

    Parameters
    ----------
    path
        The file as the user named it.
    target
        The file itself, symbolic links resolved.
    container
        What kind of file it is.
    identity
        The file at the time of planning; a file that has changed since is refused.
    changes
        The fields that would change, in the order in which they are written.
    """

    path: Path
    target: Path
    container: Container
    identity: FileIdentity
    changes: tuple[FieldChange, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.changes


@dataclass(frozen=True, kw_only=True)
class StoredField:
    """One field as a file holds it.

    Parameters
    ----------
    field
        Name as the container knows it.
    values
        Its values, readable; binary content is described, as in ``<image/jpeg, 12345 bytes>``.
    """

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The metadata of one file, readable.

    Parameters
    ----------
    container
        What kind of file it is.
    version
        What its metadata is written in, such as ``ID3v2.3``; empty when it has none.
    fields
        In the order of the file.
    """

    container: Container
    version: str
    fields: tuple[StoredField, ...]
