"""What tagcli wants stored in a file, what a write would change, and what a file holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from tagcli.container import Container
from tagcli.files import FileIdentity, Piece

SEPARATORS = ";/,"
"""Readers cut a stored tag in two at any of these."""
SCORE_DECIMALS = 3
SCORE_TOLERANCE = 1.5 * 10**-SCORE_DECIMALS
"""A score whose last stored digit moved by one, as between two machines, is not worth a rewrite."""


MOST_METADATA_BYTES = 1 << 28
"""Read of a file, so that a damaged size costs no memory: as much as an ID3v2 tag can hold."""
JOINER = "; "
"""Between several values where a container, or the readers of a field, know one text only."""


class BrokenTagError(Exception):
    """Metadata that cannot be walked to its end; translated where the file is known."""


class UnwritableError(Exception):
    """Metadata that are whole, and into which something cannot be written; translated where the file is known."""


class UnknownVersionError(Exception):
    """Metadata of a version that cannot be written back; translated where the file is known.

    Parameters
    ----------
    version
        Its name, such as ``ID3v2.2``.
    """

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


class Field(StrEnum):
    """What tagcli stores in a file, whatever the container calls it.

    The first five are tagcli's own; `ADDED` tells which values of the others are. The others belong to the user.
    """

    TAGS = "tags"
    SCORES = "scores"
    MODEL = "model"
    SETTINGS = "settings"
    ADDED = "added"
    GENRE = "genre"
    MOOD = "mood"
    GROUPING = "grouping"
    COMMENT = "comment"


OWN_NAMES: Mapping[Field, str] = MappingProxyType(
    {own: f"TAGCLI_{own.upper()}" for own in (Field.TAGS, Field.SCORES, Field.MODEL, Field.SETTINGS, Field.ADDED)}
)
"""What tagcli's own fields are called; containers put their own prefix before it."""
SHARED_FIELDS = (Field.GENRE, Field.MOOD, Field.GROUPING, Field.COMMENT)


class Kind(StrEnum):
    """A way in which metadata are stored, whatever the container; called as `Metadata.version` tells it."""

    ID3V23 = "ID3v2.3"
    ID3V24 = "ID3v2.4"
    VORBIS = "Vorbis comments"
    MP4 = "iTunes metadata"
    APEV2 = "APEv2"
    ASF = "ASF attributes"


class FieldPolicy(StrEnum):
    """What happens to a field that is not tagcli's own."""

    FILL = "fill"
    APPEND = "append"
    REPLACE = "replace"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What happens to the fields that are not tagcli's own.

    Parameters
    ----------
    genre, mood, grouping, comment
        One policy for each.
    """

    genre: FieldPolicy = FieldPolicy.FILL
    mood: FieldPolicy = FieldPolicy.FILL
    grouping: FieldPolicy = FieldPolicy.NEVER
    comment: FieldPolicy = FieldPolicy.NEVER

    def of(self, shared: Field) -> FieldPolicy:
        """Give the policy of a field."""
        return FieldPolicy(getattr(self, shared))


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How things are written that readers disagree about; all but the number of genres concern ID3 only.

    Parameters
    ----------
    new_version
        Version of a tag in a file that has none: 3 or 4, for ID3v2.3 or ID3v2.4.
    joins_values
        Whether several values are joined to one text in ID3v2.3, where readers cut everything behind a NUL. Not when
        readers do not split a text at all: genre and mood are then the best value alone.
    grouping_frame
        ``TIT1``, or ``GRP1`` as iTunes and Navidrome have it, which is one text. A grouping of tagcli's stays in the
        frame where it is.
    mood_text
        What a mood is called where there is no frame for it. One that is there in other letters keeps its name.
    shows_one
        Whether readers show one value only, whatever the container: one genre is then offered.
    """

    new_version: int = 4
    joins_values: bool = True
    grouping_frame: str = "TIT1"
    mood_text: str = "TXXX:MOOD"
    shows_one: bool = False


DEFAULT_POLICIES = Policies()
DEFAULT_DIALECT = Dialect()


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
    genres, moods, grouping, comment
        Candidates for the fields that are not tagcli's own, best first; may be empty.
    keeps_provenance
        Whether model and settings stay as stored where tags and scores do.

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
    moods: tuple[str, ...] = ()
    grouping: tuple[str, ...] = ()
    comment: tuple[str, ...] = ()
    keeps_provenance: bool = False

    @property
    def shared(self) -> dict[Field, tuple[str, ...]]:
        """The candidates by field."""
        values = (self.genres, self.moods, self.grouping, self.comment)
        return dict(zip(SHARED_FIELDS, values, strict=True))

    def __post_init__(self) -> None:
        if len(self.tags) != len(self.scores):
            message = f"{len(self.tags)} tags and {len(self.scores)} scores do not pair up."
            raise ValueError(message)
        for score in self.scores:
            if math.isnan(score) or not 0 <= score <= 1:
                message = f"The score {score} does not lie in [0, 1]."
                raise ValueError(message)
        shared = tuple(value for values in self.shared.values() for value in values)
        for tag in self.tags + shared:
            if not tag.strip() or any(separator in tag for separator in SEPARATORS):
                reason = f"is empty or holds one of {SEPARATORS!r}"
                message = f"The tag {tag!r} {reason}; give it another label in a --vocabulary file."
                raise ValueError(message)
        for text in (*self.tags, *shared, self.model, self.settings):
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                message = f"The text {text!r} cannot be stored."
                raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class Held:
    """One field of tagcli's as a file holds it now.

    Parameters
    ----------
    name
        What the container calls it, such as ``TXXX:TAGCLI_TAGS`` or ``TCON``: where a change would be written.
    values
        Empty when the field is absent; of an opaque one a description.
    named
        What values mean that are references to numbered genres.
    is_tidy
        Whether the values lie as tagcli would write them; not when they are spread over several frames.
    is_opaque
        Whether there is something that cannot be read: encrypted, or damaged.
    is_text
        Whether it is one text, to which tagcli adds, and no list.
    most
        How many values its readers tell apart; tagcli writes no more. None for all.
    """

    name: str
    values: tuple[str, ...] = ()
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_tidy: bool = True
    is_opaque: bool = False
    is_text: bool = False
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that a write would change.

    Parameters
    ----------
    field
        Which one.
    name
        What the container calls it, such as ``TXXX:TAGCLI_TAGS`` or ``TCON``.
    old
        Values stored now; empty when the field is absent.
    new
        Values to be stored; empty when the field is to be removed.
    """

    field: Field
    name: str
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
    dialect
        How they are written.
    changes
        The fields that would change, in the order in which they are written.
    pieces
        What the new version of the file is made of.
    new_size
        Size of the new version, in bytes. That of the old one when the change fits into its padding.
    """

    path: Path
    target: Path
    container: Container
    identity: FileIdentity
    dialect: Dialect
    changes: tuple[FieldChange, ...]
    pieces: tuple[Piece, ...]
    new_size: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.changes

    @property
    def fits(self) -> bool:
        """Whether the file keeps its size, so that the change fits into its padding."""
        return self.new_size == self.identity.size


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
        What its metadata is written in, a `Kind` such as ``ID3v2.3``; empty when it has none.
    fields
        In the order of the file.
    """

    container: Container
    version: str
    fields: tuple[StoredField, ...]
