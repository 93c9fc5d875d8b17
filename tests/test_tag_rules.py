"""What the user wants of single tags."""

import pytest

from tagcli.errors import ConfigurationError
from tagcli.tag_rules import TagRule, TagRules, format_vocabulary, make_rules, read_tag_rules
from tagcli.tags import Category, ScoredTag, Vocabulary
from tagcli.weights.vocabularies import PUBLISHED, load_vocabulary

ROCK = ScoredTag(tag="rock", score=0.5, label="rock", category=Category.GENRE)


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "rules.toml"
        path.write_text(text, encoding="utf-8")
        return read_tag_rules(path)

    return read


def test_rules_are_read(read):
    rules = read(
        """
        store_others = false
        [[tag]]
        name = "rock"
        label = "Rock Music"
        category = "mood"
        threshold = 0.3
        [[tag]]
        name = "noise"
        stored = false
        """
    )
    assert rules.find("rock") == TagRule(category=Category.MOOD, label="Rock Music", threshold=0.3)
    assert not rules.find("noise").is_stored
    assert not rules.find("jazz").is_stored
    assert read("").find("jazz").is_stored
    renamed = rules.rename(ROCK)
    assert (renamed.tag, renamed.score, renamed.label, renamed.category) == ("rock", 0.5, "Rock Music", Category.MOOD)


def test_other_capitals_keep_their_spelling():
    rules = TagRules(by_tag={"rock": TagRule(category=Category.GENRE, label="Rock!", threshold=0.7)})
    assert rules.find("ROCK") == TagRule(category=Category.GENRE, threshold=0.7)
    assert rules.find("rock").label == "Rock!"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_vocabulary_comes_back_from_its_file(read, name):
    vocabulary = load_vocabulary(name)
    assert read(format_vocabulary(vocabulary)) == make_rules(vocabulary)


def test_any_name_can_be_written(read):
    tags = ('say "no"', "back\\slash", "über", "a b")
    vocabulary = Vocabulary(name="odd", tags=tags, categories=(Category.OTHER,) * 4, labels=tags)
    assert set(read(format_vocabulary(vocabulary)).by_tag) == set(tags)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tag = 1", "a list of tables"),
        ("[[tag]]\nlabel = 'x'", "has no name"),
        ("[[tags]]\nname = 'x'", "there is no 'tags'"),
        ("[[tag]]\nname = 'x'\ncolour = 'red'", "colour = 'red'"),
        ("[[tag]]\nname = 'x'\nlabel = 'a/b'", "where players split"),
        ("[[tag]]\nname = 'x'\nlabel = ' '", "is empty"),
        ("[[tag]]\nname = 'x'\nthreshold = 2", r"does not lie in \[0, 1\]"),
        ("[[tag]]\nname = 'x'\nthreshold = true", "threshold = True"),
        ("[[tag]]\nname = 'x'\ncategory = 'smell'", "is none of genre, mood"),
        ("[[tag]]\nname = 'x'\n[[tag]]\nname = 'x'", "there twice"),
        ("store_others = 'no'", "true or false"),
        ("nonsense", "cannot be read as TOML"),
    ],
)
def test_what_cannot_be_is_refused(read, text, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        read(text)
    assert "rules.toml" in caught.value.message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_tag_rules(tmp_path / "no.toml")
