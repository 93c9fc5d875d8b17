"""The published vocabularies: tags in output order, each with its category and the form that goes into files."""

import tomllib
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
