"""What players read of metadata, where they read it from, and how metadata are written for one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tagcli.metadata.fields import DEFAULT_DIALECT, Dialect, Field, Kind


class Player(StrEnum):
    """A player, server or tag editor."""

    NAVIDROME = "navidrome"
    JELLYFIN = "jellyfin"
    PICARD = "picard"
    FOOBAR2000 = "foobar2000"
    ITUNES = "itunes"


_ITUNES = "----:com.apple.iTunes:"
# Of all kinds. A name in capitals is meant in any letters (nothing else differs between Vorbis comments and APEv2), any
# other in these. One that ends with a colon stands for all that begin so: a comment without description, any language.
_GENRE = ("TCON", "GENRE", "©gen", "WM/Genre")
_MOOD = ("TMOO", "TXXX:MOOD", "MOOD", f"{_ITUNES}MOOD", "WM/Mood")
_GROUPING = ("GROUPING", "©grp", "WM/ContentGroupDescription")
_COMMENT = ("COMM::", "COMMENT", "©cmt", "Description")
_TAGS = ("TXXX:TAGCLI_TAGS", "TAGCLI_TAGS", f"{_ITUNES}TAGCLI_TAGS", "TAGCLI/TAGS")
STORED_NAMES: Mapping[Field, tuple[str, ...]] = {
    Field.GENRE: _GENRE,
    Field.MOOD: _MOOD,
    Field.GROUPING: ("TIT1", "GRP1", *_GROUPING),
    Field.COMMENT: _COMMENT,
    Field.TAGS: _TAGS,
}


@dataclass(frozen=True, kw_only=True)
class PlayerFacts:
    """What a player reads, unless it is configured otherwise, and how to write for it.

    Parameters
    ----------
    names
        By field the names that are read, whatever the kind; the values of several are put together in this order. A
        field that is missing is not read.
    separators
        Characters at which a value of a field is split in a kind.
    cuts
        Kinds in which everything behind the first value is lost.
    kinds
        Kinds that are read at all.
    dialect
        How metadata are written for it.
    """

    names: Mapping[Field, tuple[str, ...]]
    separators: Mapping[tuple[Field, Kind], str] = field(default_factory=dict)
    cuts: frozenset[Kind] = frozenset()
    kinds: frozenset[Kind] = frozenset(Kind)
    dialect: Dialect = DEFAULT_DIALECT


# Names: resources/mappings.yaml, where TIT1 is the work. Genre and mood are split (as documented under "Changing
# separators" at navidrome.org/docs/usage/configuration/custom-tags); other names than those of the file, such as
# tagcli's own, are read only when the configuration lists them (the same page). All aliases of a field are put together
# (model/metadata/metadata.go), and TagLib makes one of TMOO and TXXX:MOOD.
_NAVIDROME = PlayerFacts(
    names={
        Field.GENRE: _GENRE,
        Field.MOOD: _MOOD,
        Field.GROUPING: ("GRP1", *_GROUPING),
        Field.COMMENT: _COMMENT,
    },
    separators={(split, kind): ";/," for split in (Field.GENRE, Field.MOOD) for kind in Kind},
    dialect=Dialect(grouping_frame="GRP1"),
)
# MediaBrowser.Providers/MediaInfo/AudioFileProber.cs: of these fields it reads the genre of a track only, leaves texts
# of ID3v2.3 in one piece (ATL.Settings.ID3v2_separatev2v3Values), cuts what stands behind a NUL there
# (GetSanitizedStringTag), and splits at / | ; \ only when "custom tag delimiters" are switched on for the library.
_JELLYFIN = PlayerFacts(names={Field.GENRE: _GENRE}, cuts=frozenset({Kind.ID3V23}), dialect=Dialect(joins_values=False))
# picard/formats/id3.py: nothing is split; TIT1 and GRP1 are put together; the mood of ID3v2.3 is TXXX:mood, in small
# letters, while TXXX:MOOD becomes a tag MOOD beside it. Unknown names are tags of their own, except in ASF.
_PICARD = PlayerFacts(
    names={
        Field.GENRE: _GENRE,
        Field.MOOD: tuple(name.replace("TXXX:MOOD", "TXXX:mood") for name in _MOOD),
        Field.GROUPING: ("TIT1", "GRP1", *_GROUPING),
        Field.COMMENT: _COMMENT,
        Field.TAGS: _TAGS[:-1],
    },
    dialect=Dialect(joins_values=False, mood_text="TXXX:mood"),
)
# wiki.hydrogenaud.io, "Foobar2000:ID3 Tag Mapping"; MP4: mutagen-specs.readthedocs.io, "MP4" (version 1.3.3 reads the
# first value). That it splits ID3v2.3 at semicolons is what users tell (namida #294).
_FOOBAR2000 = PlayerFacts(
    names={
        Field.GENRE: _GENRE,
        Field.MOOD: _MOOD,
        Field.GROUPING: ("TIT1", *_GROUPING),
        Field.COMMENT: _COMMENT,
        Field.TAGS: _TAGS,
    },
    separators={(split, Kind.ID3V23): ";" for split in (Field.GENRE, Field.MOOD, Field.GROUPING, Field.TAGS)},
    cuts=frozenset({Kind.MP4}),
)
# Since 12.5.4 the grouping is GRP1, and TIT1 the work (taglib #903, picard #928). mutagen-specs.readthedocs.io, "MP4":
# version 11.4 shows the first genre of several; that it does so in ID3 is assumed.
_ITUNES_KINDS = frozenset({Kind.ID3V23, Kind.ID3V24, Kind.MP4})
_ITUNES_FACTS = PlayerFacts(
    names={Field.GENRE: _GENRE, Field.GROUPING: ("GRP1", *_GROUPING), Field.COMMENT: _COMMENT},
    cuts=_ITUNES_KINDS,
    kinds=_ITUNES_KINDS,
    dialect=Dialect(new_version=3, grouping_frame="GRP1", shows_one=True),
)
PLAYERS: Mapping[Player, PlayerFacts] = {
    Player.NAVIDROME: _NAVIDROME,
    Player.JELLYFIN: _JELLYFIN,
    Player.PICARD: _PICARD,
    Player.FOOBAR2000: _FOOBAR2000,
    Player.ITUNES: _ITUNES_FACTS,
}


def choose_dialect(player: Player | None, *, new_version: int | None = None) -> Dialect:
    """Choose how metadata are written.

    Parameters
    ----------
    player
        For whom; None for nobody in particular.
    new_version
        Version of an ID3v2 tag in a file that has none, 3 or 4; None for the player's.
    """
    dialect = DEFAULT_DIALECT if player is None else PLAYERS[player].dialect
    return dialect if new_version is None else replace(dialect, new_version=new_version)
