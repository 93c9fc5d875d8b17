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
    published = [load_vocabulary(each) for each in PUBLISHED]
    for vocabulary in published:
        if vocabulary.tags == tuple(tags):
            return vocabulary
    categories: dict[str, Category] = {}
    for vocabulary in reversed(published):  # the widest has the last word
        for words in (vocabulary.labels, vocabulary.tags):
            categories.update(zip(map(str.casefold, words), vocabulary.categories, strict=True))
    return Vocabulary(
        name=name,
        tags=tuple(tags),
        categories=tuple(categories.get(tag.casefold(), Category.OTHER) for tag in tags),
        labels=tuple(re.sub(r"[\s;/,]+", " ", tag).strip() for tag in tags),
    )
