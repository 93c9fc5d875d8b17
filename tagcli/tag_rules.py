"""What the user wants of single tags: another name, another category, a threshold, or that they are not stored.

The file is a vocabulary as `tagcli weights vocabulary` prints it, edited: a ``[[tag]]`` for each tag, with its
``name``, and as far as wanted ``category``, ``label``, ``threshold`` (least score of a stored tag) and
``stored = false``. With ``store_others = false`` at the top only the tags that are named are stored.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tagcli.errors import ConfigurationError
from tagcli.metadata.fields import SEPARATORS
from tagcli.tags import Category, ScoredTag, Vocabulary

_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "category": str,
    "label": str,
    "threshold": (int, float),
    "stored": bool,
}


@dataclass(frozen=True, kw_only=True)
class TagRule:
    """What is wanted of one tag.

    Parameters
    ----------
    category, label
        Instead of the tag's own; None to keep them.
    threshold
        Least score at which it is stored, in [0, 1]; None for what is said elsewhere.
    is_stored
        Whether it is stored at all.
    """

    category: Category | None = None
    label: str | None = None
    threshold: float | None = None
    is_stored: bool = True


@dataclass(frozen=True, kw_only=True)
class TagRules:
    """What is wanted of tags.

    Parameters
    ----------
    by_tag
        Rules by the tag as the vocabulary has it.
    stores_others
        Whether tags without a rule are stored.
    """

    by_tag: Mapping[str, TagRule] = field(default_factory=lambda: MappingProxyType({}))
    stores_others: bool = True

    def find(self, tag: str) -> TagRule:
        """Give the rule of a tag; one in other capitals keeps its spelling."""
        rule = self.by_tag.get(tag)
        if rule is None and (similar := self._by_folded_tag.get(tag.casefold())) is not None:
            rule = replace(similar, label=None)
        return rule or TagRule(is_stored=self.stores_others)

    @cached_property
    def _by_folded_tag(self) -> dict[str, TagRule]:
        return {tag.casefold(): rule for tag, rule in self.by_tag.items()}

    def rename(self, tag: ScoredTag) -> ScoredTag:
        """Give a tag with the label and category that are wanted of it."""
        rule = self.find(tag.tag)
        return ScoredTag(
            tag=tag.tag, score=tag.score, label=rule.label or tag.label, category=rule.category or tag.category
        )


def read_tag_rules(path: Path) -> TagRules:
    """Read a file of rules.

    Parameters
    ----------
    path
        The file, TOML.

    Returns
    -------
    TagRules
        What it says.

    Raises
    ------
    ConfigurationError
        When it cannot be read, or says what cannot be.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The vocabulary {path} cannot be read ({error.strerror}); check the path."
        raise ConfigurationError(msg, path=path) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read as TOML ({error}); correct it, or begin with `tagcli weights vocabulary`."
        raise ConfigurationError(msg, path=path) from error
    try:
        return _make_rules(content)
    except ValueError as error:
        msg = f"{path}: {error}; correct it, or begin with `tagcli weights vocabulary`."
        raise ConfigurationError(msg, path=path) from error


def make_rules(vocabulary: Vocabulary) -> TagRules:
    """Say in rules what a vocabulary says of its tags: for tags whose labels and categories are not known."""
    tags = zip(vocabulary.tags, vocabulary.labels, vocabulary.categories, strict=True)
    return TagRules(by_tag={tag: TagRule(label=label, category=category) for tag, label, category in tags})


def format_vocabulary(vocabulary: Vocabulary) -> str:
    """Write a vocabulary as a file of rules, to be edited."""
    lines = [
        f"# The tags of {vocabulary.name}. Give this file, edited, as --vocabulary: label is what is stored in files,",
        f"# category is one of {', '.join(Category)}; threshold = 0.3 and stored = false may be added to a tag.",
        "# store_others = false, above all tags, leaves out those that are not named.",
    ]
    for tag, category, label in zip(vocabulary.tags, vocabulary.categories, vocabulary.labels, strict=True):
        lines += ["", "[[tag]]", f"name = {_quote(tag)}", f'category = "{category}"', f"label = {_quote(label)}"]
    return "\n".join(lines) + "\n"


def _make_rules(content: dict[str, Any]) -> TagRules:
    if unknown := content.keys() - {"tag", "store_others"}:
        msg = f"there is no {min(unknown)!r}"
        raise ValueError(msg)
    tags, stores_others = content.get("tag", []), content.get("store_others", True)
    if not isinstance(tags, list) or not isinstance(stores_others, bool):
        msg = "tag is a list of tables, and store_others true or false"
        raise ValueError(msg)
    by_tag: dict[str, TagRule] = {}
    for tag in tags:
        name, rule = _make_rule(tag)
        if name in by_tag:
            msg = f"the tag {name!r} is there twice"
            raise ValueError(msg)
        by_tag[name] = rule
    return TagRules(by_tag=by_tag, stores_others=stores_others)


def _make_rule(tag: Any) -> tuple[str, TagRule]:
    if not isinstance(tag, dict) or "name" not in tag:
        msg = "a tag has no name"
        raise ValueError(msg)
    name = tag["name"]
    for key, value in tag.items():
        if key not in _KINDS or not isinstance(value, _KINDS[key]) or (key == "threshold" and isinstance(value, bool)):
            msg = f"{key} = {value!r} of the tag {name!r} is not understood"
            raise ValueError(msg)
    label, threshold, category = tag.get("label"), tag.get("threshold"), tag.get("category")
    if label is not None and (
        not label.strip() or not label.isprintable() or any(separator in label for separator in SEPARATORS)
    ):
        msg = (
            f"the label {label!r} is empty, or holds a control character or one of {SEPARATORS!r}, where players split"
        )
        raise ValueError(msg)
    if threshold is not None and not 0 <= threshold <= 1:
        msg = f"the threshold of the tag {name!r} does not lie in [0, 1]"
        raise ValueError(msg)
    if category is not None and category not in set(Category):
        msg = f"the category {category!r} of the tag {name!r} is none of {', '.join(Category)}"
        raise ValueError(msg)
    return name, TagRule(
        category=None if category is None else Category(category),
        label=label,
        threshold=None if threshold is None else float(threshold),
        is_stored=tag.get("stored", True),
    )


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
