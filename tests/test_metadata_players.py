"""What players make of metadata, and that what is written for a player is what it shows."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import encode_audio, id3_frame, id3_tag, mp3, text_content, walk_id3
from mutagen.flac import FLAC
from mutagen.id3 import ID3

from tagcli.annotate import MAX_GENRES, NO_RULES, StorePolicy, make_fields
from tagcli.container import Container
from tagcli.metadata import (
    Dialect,
    Field,
    FieldPolicy,
    Fields,
    Metadata,
    Policies,
    StoredField,
    apply_plan,
    plan_removal,
    plan_write,
    read_metadata,
)
from tagcli.metadata.fields import Kind
from tagcli.metadata.players import PLAYERS, STORED_NAMES, Player, choose_dialect
from tagcli.metadata.seen import SeenField, read_as
from tagcli.tags import Category, ScoredTag

CONTAINERS = {
    Kind.ID3V23: Container.MP3,
    Kind.ID3V24: Container.MP3,
    Kind.VORBIS: Container.FLAC,
    Kind.MP4: Container.MP4,
    Kind.APEV2: Container.APE,
    Kind.ASF: Container.ASF,
}
NAVIDROME, JELLYFIN, PICARD, FOOBAR2000, ITUNES = Player
EVERYBODY = frozenset(Player)
V23, V24 = Kind.ID3V23, Kind.ID3V24
GENRE, MOOD, GROUPING, COMMENT, TAGS = Field.GENRE, Field.MOOD, Field.GROUPING, Field.COMMENT, Field.TAGS
EVERYTHING = Policies(genre="replace", mood="replace", grouping="replace", comment="replace")


def see(player, kind, fields):
    """Read fields, given as a dict or as pairs, as a player does."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    stored = tuple(StoredField(field=name, values=values) for name, values in pairs)
    version = "" if kind in (Kind.MP4, Kind.APEV2, Kind.ASF) else kind.value
    return read_as(Metadata(container=CONTAINERS[kind], version=version, fields=stored), player)


# Who reads what


@pytest.mark.parametrize(
    ("kind", "name", "readers"),
    [
        (V24, "TCON", EVERYBODY),
        (V23, "TCON", EVERYBODY),
        (Kind.VORBIS, "GENRE", EVERYBODY - {ITUNES}),
        (Kind.MP4, "©gen", EVERYBODY),
        (Kind.APEV2, "Genre", EVERYBODY - {ITUNES}),
        (Kind.ASF, "WM/Genre", EVERYBODY - {ITUNES}),
        (V24, "TMOO", {NAVIDROME, PICARD, FOOBAR2000}),
        (V24, "TXXX:MOOD", {NAVIDROME, FOOBAR2000}),
        (V23, "TXXX:MOOD", {NAVIDROME, FOOBAR2000}),
        (V23, "TXXX:mood", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.VORBIS, "MOOD", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.MP4, "----:com.apple.iTunes:MOOD", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.APEV2, "Mood", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.ASF, "WM/Mood", {NAVIDROME, PICARD, FOOBAR2000}),
        (V24, "TIT1", {PICARD, FOOBAR2000}),
        (V24, "GRP1", {NAVIDROME, PICARD, ITUNES}),
        (Kind.VORBIS, "GROUPING", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.MP4, "©grp", {NAVIDROME, PICARD, FOOBAR2000, ITUNES}),
        (Kind.APEV2, "Grouping", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.ASF, "WM/ContentGroupDescription", {NAVIDROME, PICARD, FOOBAR2000}),
        (V24, "COMM::eng", {NAVIDROME, PICARD, FOOBAR2000, ITUNES}),
        (V24, "COMM::deu", {NAVIDROME, PICARD, FOOBAR2000, ITUNES}),
        (Kind.VORBIS, "COMMENT", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.MP4, "©cmt", {NAVIDROME, PICARD, FOOBAR2000, ITUNES}),
        (Kind.APEV2, "Comment", {NAVIDROME, PICARD, FOOBAR2000}),
        (Kind.ASF, "Description", {NAVIDROME, PICARD, FOOBAR2000}),
        (V24, "TXXX:TAGCLI_TAGS", {PICARD, FOOBAR2000}),
        (Kind.VORBIS, "TAGCLI_TAGS", {PICARD, FOOBAR2000}),
        (Kind.MP4, "----:com.apple.iTunes:TAGCLI_TAGS", {PICARD, FOOBAR2000}),
        (Kind.APEV2, "TAGCLI_TAGS", {PICARD, FOOBAR2000}),
        (Kind.ASF, "TAGCLI/TAGS", {FOOBAR2000}),
    ],
)
def test_every_player_reads_its_own_fields(kind, name, readers):
    for player in Player:
        (seen,) = see(player, kind, {name: ("one",)})
        if player in readers:
            assert (seen.values, seen.warnings) == (("one",), ()), player
        else:
            assert seen.values == (), player
            (warning,) = seen.warnings
            assert warning.startswith(f"{player} does not read ")


@pytest.mark.parametrize(
    ("kind", "name"), [(V24, "COMM:iTunNORM:eng"), (V24, "TIT2"), (V24, "TXXX:MOODS"), (Kind.VORBIS, "DESCRIPTION")]
)
@pytest.mark.parametrize("player", Player)
def test_other_fields_are_not_spoken_of(player, kind, name):
    assert see(player, kind, {name: ("one",)}) == ()


@pytest.mark.parametrize("player", Player)
def test_nothing_is_seen_of_nothing(player):
    assert see(player, V24, {}) == ()
    assert see(player, V24, {"TCON": (), "TMOO": ("",)}) == ()
    assert read_as(Metadata(container=Container.MP3, version="", fields=()), player) == ()


def test_fields_come_in_one_order_whatever_the_files():
    fields = {"TXXX:TAGCLI_TAGS": ("a",), "COMM::eng": ("a",), "TIT1": ("a",), "TMOO": ("a",), "TCON": ("a",)}
    assert [seen.field for seen in see(PICARD, V24, fields)] == [GENRE, MOOD, GROUPING, COMMENT, TAGS]


# What is lost or altered


@pytest.mark.parametrize(
    ("player", "kind", "fields", "values", "warnings"),
    [
        (
            NAVIDROME,
            V24,
            {"TCON": ("Drum, Bass", "Rock")},
            ("Drum", "Bass", "Rock"),
            ("navidrome splits the genre 'Drum, Bass' at ','.",),
        ),
        (
            NAVIDROME,
            Kind.VORBIS,
            {"MOOD": ("Happy/Sad;",)},
            ("Happy", "Sad"),
            ("navidrome splits the mood 'Happy/Sad;' at '/'.",),
        ),
        (NAVIDROME, V24, {"TCON": ("Rock;",)}, ("Rock",), ("navidrome splits the genre 'Rock;' at ';'.",)),
        (NAVIDROME, V24, {"TCON": ("Rock", "Jazz")}, ("Rock", "Jazz"), ()),
        (NAVIDROME, V23, {"TCON": ("Rock; Jazz",)}, ("Rock", "Jazz"), ()),
        (
            NAVIDROME,
            V23,
            {"TCON": ("Rock; R&B/Soul",)},
            ("Rock", "R&B", "Soul"),
            ("navidrome splits the genre 'Rock; R&B/Soul' at ';'.",),
        ),
        (NAVIDROME, V24, {"GRP1": ("a; b, c",)}, ("a; b, c",), ()),
        (NAVIDROME, V24, {"COMM::eng": ("a; b",)}, ("a; b",), ()),
        (NAVIDROME, V24, {"TIT1": ("a",)}, (), ("navidrome does not read the grouping in TIT1.",)),
        (
            NAVIDROME,
            V24,
            {"TIT1": ("a",), "GRP1": ("b",)},
            ("b",),
            ("navidrome does not read the grouping in TIT1.",),
        ),
        (
            NAVIDROME,
            V24,
            {"TXXX:Mood": ("Sad", "Happy"), "TMOO": ("Happy",)},
            ("Happy", "Sad"),
            ("navidrome puts the mood of TMOO and TXXX:Mood together.",),
        ),
        (JELLYFIN, V24, {"TCON": ("Rock", "Jazz")}, ("Rock", "Jazz"), ()),
        (JELLYFIN, V24, {"TCON": ("R&B/Soul",)}, ("R&B/Soul",), ()),
        (JELLYFIN, V23, {"TCON": ("Rock", "Jazz")}, ("Rock",), ("jellyfin cuts the genre behind its first value.",)),
        (
            JELLYFIN,
            V23,
            {"TCON": ("Rock; Jazz",)},
            ("Rock; Jazz",),
            ("jellyfin shows the genre 'Rock; Jazz' as one value.",),
        ),
        (JELLYFIN, V24, {"TMOO": ("Sad",)}, (), ("jellyfin does not read the mood.",)),
        (PICARD, V23, {"TCON": ("Rock", "Jazz")}, ("Rock", "Jazz"), ()),
        (PICARD, V23, {"TXXX:mood": ("a; b",)}, ("a; b",), ("picard shows the mood 'a; b' as one value.",)),
        (PICARD, V23, {"TXXX:TAGCLI_TAGS": ("a", "b")}, ("a; b",), ()),
        (PICARD, V24, {"TXXX:TAGCLI_TAGS": ("a", "b")}, ("a", "b"), ()),
        (PICARD, V24, {"TXXX:MOOD": ("a",)}, (), ("picard does not read the mood in TXXX:MOOD.",)),
        (
            PICARD,
            V24,
            {"GRP1": ("a",), "TIT1": ("b",)},
            ("b", "a"),
            ("picard puts the grouping of TIT1 and GRP1 together.",),
        ),
        (FOOBAR2000, V23, {"TCON": ("Rock; Jazz",)}, ("Rock", "Jazz"), ()),
        (FOOBAR2000, V23, {"TCON": ("R&B/Soul",)}, ("R&B/Soul",), ()),
        (FOOBAR2000, V24, {"TCON": ("Rock; Jazz",)}, ("Rock; Jazz",), ()),
        (FOOBAR2000, Kind.MP4, {"©gen": ("a", "b")}, ("a",), ("foobar2000 cuts the genre behind its first value.",)),
        (ITUNES, V24, {"TCON": ("Rock", "Jazz")}, ("Rock",), ("itunes cuts the genre behind its first value.",)),
        (ITUNES, Kind.MP4, {"©gen": ("a", "b")}, ("a",), ("itunes cuts the genre behind its first value.",)),
        (ITUNES, Kind.VORBIS, {"GENRE": ("Rock",)}, (), ("itunes does not read Vorbis comments.",)),
        (PICARD, V23, {"TCON": ("(17)",)}, ("Rock",), ()),
        (JELLYFIN, V24, {"TCON": ("17", "Jazz", "Rock")}, ("Rock", "Jazz"), ()),
    ],
)
def test_what_gets_lost_is_told(player, kind, fields, values, warnings):
    (seen,) = see(player, kind, fields)
    assert (seen.values, seen.warnings) == (values, warnings)


@given(
    st.sampled_from(Player),
    st.sampled_from(Kind),
    st.lists(
        st.tuples(
            st.sampled_from([name for names in STORED_NAMES.values() for name in names] + ["COMM::eng", "TIT2", ""]),
            st.lists(st.text(max_size=12), max_size=3).map(tuple),
        ),
        max_size=6,
    ),
)
def test_anything_can_be_read(player, kind, fields):
    for seen in see(player, kind, fields):
        assert isinstance(seen, SeenField)
        assert seen.values or seen.warnings
        assert len(set(seen.values)) == len(seen.values)
        assert all(warning.startswith(f"{player} ") and warning.endswith(".") for warning in seen.warnings)


# Written for a player

words = st.text(st.characters(categories=["L"]), min_size=2, max_size=8)
ONE_GENRE = {(JELLYFIN, V23), (PICARD, V23), (ITUNES, V23), (ITUNES, V24)}
ONE_MOOD = {(PICARD, V23)}


def make_file(path, kind):
    """Make a file with metadata of a kind, and something foreign in them."""
    if kind is Kind.VORBIS:
        path.write_bytes(encode_audio("flac", "flac"))
    else:
        version = 3 if kind is V23 else 4
        path.write_bytes(id3_tag(version, [id3_frame(version, "TIT2", text_content("A", 0))]) + mp3())
    return path


@pytest.mark.parametrize("kind", [V23, V24, Kind.VORBIS])
@pytest.mark.parametrize("player", Player)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(words, max_size=7, unique_by=str.casefold),
    categories=st.lists(st.sampled_from([Category.GENRE, Category.MOOD]), min_size=7, max_size=7),
)
def test_what_is_written_for_a_player_is_what_it_shows(tmp_path, player, kind, labels, categories):
    path = make_file(tmp_path / "track", kind)
    tags = tuple(
        ScoredTag(tag=label, score=0.9, label=label, category=category)
        for label, category in zip(labels, categories, strict=False)
    )
    dialect = choose_dialect(player)
    policy = StorePolicy(model="m", settings="s", threshold=0.5, thresholds={}, rules=NO_RULES, dialect=dialect)

    def write():
        return plan_write(path, make_fields(tags, policy), policies=EVERYTHING, dialect=policy.dialect)

    apply_plan(write())
    assert write().is_empty
    seen = {one.field: one for one in read_as(read_metadata(path), player)}

    of = {kind: tuple(tag.label for tag in tags if tag.category is kind)[:MAX_GENRES] for kind in Category}
    wanted = {
        GENRE: of[Category.GENRE][: 1 if (player, kind) in ONE_GENRE else None],
        MOOD: of[Category.MOOD][: 1 if (player, kind) in ONE_MOOD else None],
        GROUPING: tuple(labels),
        COMMENT: tuple(labels),
    }
    for field, values in wanted.items():
        reads = field in PLAYERS[player].names and kind in PLAYERS[player].kinds
        if not values or not reads:
            assert field not in seen or seen[field].values == ()
        elif field in (GENRE, MOOD):
            assert (seen[field].values, seen[field].warnings) == (values, ())
        else:  # one text in some kinds
            assert "; ".join(seen[field].values) == "; ".join(values)

    apply_plan(plan_removal(path))
    left = read_metadata(path).fields
    assert [field.field for field in left if field.field not in ("ENCODER", "SEEKTABLE")] == (
        [] if kind is Kind.VORBIS else ["TIT2"]
    )


def test_without_a_player_all_is_as_it_was():
    assert choose_dialect(None) == Dialect()
    assert choose_dialect(FOOBAR2000) == Dialect()


@pytest.mark.parametrize(
    ("player", "chosen", "version"), [(None, None, 4), (None, 3, 3), (ITUNES, None, 3), (ITUNES, 4, 4), (PICARD, 3, 3)]
)
def test_an_untagged_file_gets_the_chosen_version(tmp_path, player, chosen, version):
    path = tmp_path / "track.mp3"
    path.write_bytes(mp3())
    fields = Fields(tags=("Rock",), scores=(0.5,), model="m", settings="s", genres=("Rock",), grouping=("Rock",))
    apply_plan(plan_write(path, fields, policies=EVERYTHING, dialect=choose_dialect(player, new_version=chosen)))
    assert walk_id3(path.read_bytes())[0] == version
    assert ("GRP1" in ID3(path)) == (player is ITUNES)


@pytest.mark.parametrize("version", [3, 4])
def test_a_mood_in_other_letters_stays_the_only_one(tmp_path, version):
    path = tmp_path / "track.mp3"
    path.write_bytes(id3_tag(version, [id3_frame(version, "TXXX", text_content("Mood\0Sad", 0))]) + mp3())
    fields = Fields(tags=(), scores=(), model="m", settings="s", genres=(), moods=("Happy",))
    assert "TXXX:Mood" not in {change.name for change in plan_write(path, fields).changes}
    apply_plan(plan_write(path, fields, policies=Policies(mood=FieldPolicy.APPEND)))
    moods = {name: frame.text for name, frame in ID3(path, translate=False).items() if "moo" in name.lower()}
    assert moods == {"TXXX:Mood": ["Sad; Happy"] if version == 3 else ["Sad", "Happy"]}
    apply_plan(plan_removal(path))
    assert ID3(path, translate=False)["TXXX:Mood"].text == ["Sad"]


def test_a_grouping_stays_in_the_frame_where_it_was_written_and_is_taken_back_from_there(tmp_path):
    path = make_file(tmp_path / "track.mp3", V24)
    content = path.read_bytes()
    fields = Fields(tags=(), scores=(), model="m", settings="s", genres=(), grouping=("Rock", "Jazz"))
    apply_plan(plan_write(path, fields, policies=EVERYTHING, dialect=choose_dialect(NAVIDROME)))
    assert ID3(path)["GRP1"].text == ["Rock; Jazz"]
    assert plan_write(path, fields, policies=EVERYTHING).is_empty
    apply_plan(plan_removal(path))
    assert walk_id3(path.read_bytes())[1] == walk_id3(content)[1]


@pytest.mark.parametrize("player", [NAVIDROME, ITUNES])
def test_a_grouping_of_itunes_is_one_text_and_taken_back(tmp_path, player):
    path = make_file(tmp_path / "track.mp3", V24)
    fields = Fields(tags=(), scores=(), model="m", settings="s", genres=(), grouping=("a", "b"))
    apply_plan(plan_write(path, fields, policies=EVERYTHING, dialect=choose_dialect(player)))
    assert ID3(path)["GRP1"].text == ["a; b"]
    for other in (NAVIDROME, ITUNES, None):
        assert plan_write(path, fields, policies=EVERYTHING, dialect=choose_dialect(other)).is_empty
    apply_plan(plan_removal(path))
    assert "GRP1" not in ID3(path)


def test_somebody_elses_work_is_not_taken_for_the_grouping(tmp_path):
    path = tmp_path / "track.mp3"
    path.write_bytes(id3_tag(4, [id3_frame(4, "TIT1", text_content("Symphony"))]) + mp3())
    fields = Fields(tags=(), scores=(), model="m", settings="s", genres=(), grouping=("Rock",))
    policies = Policies(grouping=FieldPolicy.FILL)
    apply_plan(plan_write(path, fields, policies=policies, dialect=choose_dialect(ITUNES)))
    tags = ID3(path)
    assert (tags["TIT1"].text, tags["GRP1"].text) == (["Symphony"], ["Rock"])


@pytest.mark.parametrize(
    ("policy", "old", "genres", "new"),
    [
        ("fill", None, ("Rock", "Jazz"), "Rock"),
        ("replace", "Pop", ("Rock", "Jazz"), "Rock"),
        ("replace", "Pop", (), "Pop"),
        ("append", None, ("Rock", "Jazz"), "Rock"),
        ("append", "Pop", ("Rock", "Jazz"), "Pop"),
        ("append", "Pop; Folk", ("Rock", "Jazz"), "Pop; Folk"),
    ],
)
def test_where_one_genre_is_read_no_more_is_written_and_none_is_lost(tmp_path, policy, old, genres, new):
    path = tmp_path / "track.mp3"
    path.write_bytes(id3_tag(3, [id3_frame(3, "TCON", text_content(old, 0))] if old else []) + mp3())
    fields = Fields(tags=(), scores=(), model="m", settings="s", genres=genres)
    plan = plan_write(path, fields, policies=Policies(genre=policy), dialect=choose_dialect(JELLYFIN))
    apply_plan(plan)
    assert ID3(path)["TCON"].text == [new]


def test_a_dialect_concerns_id3_only(tmp_path):
    fields = Fields(tags=(), scores=(), model="m", settings="s", genres=("Rock", "Jazz"), grouping=("a", "b"))
    contents = set()
    for player in Player:
        path = make_file(tmp_path / player, Kind.VORBIS)
        apply_plan(plan_write(path, fields, policies=EVERYTHING, dialect=choose_dialect(player)))
        contents.add(path.read_bytes())
        assert FLAC(path).tags["GENRE"] == ["Rock", "Jazz"]
    assert len(contents) == 1
