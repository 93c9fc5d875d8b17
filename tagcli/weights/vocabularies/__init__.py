"""The published vocabularies: tags in output order, each with its category and the form that goes into files."""

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from tagcli.tags import Category, Vocabulary

PUBLISHED = ("msd50", "mtat50", "jamendo50")
"""Names of the vocabularies that come with the package, the widest first."""


@cache
def load_vocabulary(name: str) -> Vocabulary:
    """Read a vocabulary that comes with the package.

    Parameters
    ----------
    name
        ``msd50``, ``mtat50`` or ``jamendo50``.

    Raises
    ------
    ValueError
        When there is no vocabulary of that name.
    """
    file = resources.files(__name__) / f"{name}.toml"
    if not file.is_file():
        msg = f"there is no vocabulary {name}"
        raise ValueError(msg)
    tags = tomllib.loads(file.read_text(encoding="utf-8"))["tag"]
    return Vocabulary(
        name=name,
        tags=tuple(tag["name"] for tag in tags),
        categories=tuple(Category(tag["category"]) for tag in tags),
        labels=tuple(tag.get("label", tag["name"]) for tag in tags),
    )


def find_category(tag: str) -> Category:
    """Tell what kind of word a tag is, by the published vocabularies, whatever its capitals; other when none has it."""
    return _categories().get(tag.casefold(), Category.OTHER)


@cache
def _categories() -> dict[str, Category]:
    """Index the words of the published vocabularies; the widest has the last word."""
    categories: dict[str, Category] = {}
    for name in reversed(PUBLISHED):
        vocabulary = load_vocabulary(name)
        for words in (vocabulary.labels, vocabulary.tags):
            categories.update(zip(map(str.casefold, words), vocabulary.categories, strict=True))
    return categories


def describe_tags(name: str, tags: Sequence[str]) -> Vocabulary:
    """Make a vocabulary of a data set's tags: words that the published vocabularies have keep their categories.

    Parameters
    ----------
    name
        What it is called, unless it is one of the published ones.
    tags
        In output order.

    Returns
    -------
    Vocabulary
        Labels are the tags themselves, with a space where players would split.
    """
    for vocabulary in map(load_vocabulary, PUBLISHED):
        if vocabulary.tags == tuple(tags):
            return vocabulary
    return Vocabulary(
        name=name,
        tags=tuple(tags),
        categories=tuple(map(find_category, tags)),
        labels=tuple(re.sub(r"[\s;/,]+", " ", tag).strip() for tag in tags),
    )
