"""Which tags of a data set are learned: counted, merged, left out."""

import logging
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tagcli.datasets.draft import Draft, Pairs
from tagcli.datasets.manifest import order_tags
from tagcli.datasets.splits import number_artists
from tagcli.datasets.text_files import read_text
from tagcli.errors import DatasetError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TagChoice:
    """Which tags are kept.

    Parameters
    ----------
    tags
        These, in this order; None for all that nothing else leaves out.
    top
        So many of the most frequent ones, the most frequent first.
    exclude
        Tags to leave out, casefolded.
    synonyms
        What other forms of a tag, casefolded, are to become; they are merged before anything is counted.
    min_count, min_artists
        Least number of examples, and of artists, that carry a tag. An example without an artist counts as one.
    drops_untagged
        Whether examples that carry none of the tags are left out.

    Raises
    ------
    ValueError
        When both `tags` and `top` are given.
    """

    tags: tuple[str, ...] | None = None
    top: int | None = None
    exclude: frozenset[str] = frozenset()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    min_count: int = 0
    min_artists: int = 0
    drops_untagged: bool = False

    def __post_init__(self) -> None:
        if self.tags is not None and self.top is not None:
            msg = "the tags are either given or the most frequent ones"
            raise ValueError(msg)


EVERY_TAG = TagChoice()


def read_synonyms(path: Path) -> dict[str, str]:
    """Read a TOML table of ``"tag" = ["other form", ...]``.

    Returns
    -------
    dict of str to str
        The tag by each of its forms, casefolded, itself among them.

    Raises
    ------
    DatasetError
        When it cannot be read, is no such table, or gives one form to two tags.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML ({error}); write lines such as \"female vocalists\" = ['female vocalist']."
        raise DatasetError(msg, path=path) from error
    synonyms: dict[str, str] = {}
    for tag, forms in content.items():
        if not isinstance(forms, list) or not all(isinstance(form, str) for form in forms):
            msg = f"{path}: the forms of {tag!r} are no list of texts; write \"{tag}\" = ['other form']."
            raise DatasetError(msg, path=path)
        for form in (tag, *forms):
            if synonyms.setdefault(form.casefold(), tag) != tag:
                msg = f"{path} gives {form!r} to {synonyms[form.casefold()]!r} and to {tag!r}; leave one out."
                raise DatasetError(msg, path=path)
    return synonyms


def choose_tags(draft: Draft, choice: TagChoice) -> Draft:
    """Keep the tags that are wanted.

    Parameters
    ----------
    draft
        The data set.
    choice
        Which tags.

    Returns
    -------
    Draft
        With these tags: in the given order; with `TagChoice.top` by their counts; else in the data set's own order.

    Raises
    ------
    DatasetError
        When a tag that is asked for is not there, or none is left.
    """
    if choice == EVERY_TAG:
        return draft
    there = {tag.casefold() for tag in draft.tags}
    for tag in sorted(choice.exclude - there):
        logger.warning("%s has no tag %r that could be excluded.", draft.name, tag)
    merged = _merge(draft, choice)
    counts = dict(zip(merged.tags, _count(merged.labels[:, 1], len(merged.tags)), strict=True))
    if choice.tags is None:
        kept = [tag for tag, count in counts.items() if count >= choice.min_count]
    else:
        _require(choice.tags, merged)
        kept = [tag for tag in choice.tags if counts[tag] >= choice.min_count]
    if choice.min_artists:
        artists = _count_artists(merged)
        kept = [tag for tag in kept if artists[tag] >= choice.min_artists]
    if choice.top is not None:
        kept = list(order_tags(Counter({tag: counts[tag] for tag in kept}))[: choice.top])
    if not kept:
        msg = f"No tag of {draft.name} is left; ask for fewer examples or artists of a tag."
        raise DatasetError(msg)
    chosen = _renumber(merged, kept)
    if choice.drops_untagged:
        chosen = chosen.take(np.unique(chosen.labels[:, 0]).astype(np.intp))
    return chosen


def _merge(draft: Draft, choice: TagChoice) -> Draft:
    """Merge the forms of each tag, and leave tags out; every pair is there once then."""
    names = [choice.synonyms.get(tag.casefold(), tag) for tag in draft.tags]
    kept = [not {tag.casefold(), name.casefold()} & choice.exclude for tag, name in zip(draft.tags, names, strict=True)]
    tags = tuple(dict.fromkeys(name for name, is_kept in zip(names, kept, strict=True) if is_kept))
    index = {tag: column for column, tag in enumerate(tags)}
    columns = [index[name] if is_kept else -1 for name, is_kept in zip(names, kept, strict=True)]
    n_forms = _count(np.array([column for column in columns if column >= 0], dtype=np.int32), len(tags))
    places = np.array(columns, dtype=np.int32)
    labels, _ = _map_columns(draft.labels, places)
    known, n_known = _map_columns(draft.known, places)
    is_known = n_known == np.array(n_forms)[known[:, 1]]  # absent is only what is absent in each of its forms
    return replace(draft, tags=tags, labels=labels, known=known[is_known])


def _map_columns(pairs: Pairs, places: Pairs) -> tuple[Pairs, Pairs]:
    """Give pairs with other columns, each once and in order, and how often they were there; -1 leaves them out."""
    if not len(pairs):
        return pairs, np.empty(0, dtype=np.int32)
    columns = places[pairs[:, 1]]
    is_kept = columns >= 0
    n_columns = len(places)
    keys = pairs[is_kept, 0].astype(np.int64) * n_columns + columns[is_kept]
    distinct, counts = np.unique(keys, return_counts=True)
    return np.column_stack(np.divmod(distinct, n_columns)).astype(np.int32), counts.astype(np.int32)


def _renumber(draft: Draft, tags: Iterable[str]) -> Draft:
    """Keep these tags, in this order."""
    kept = tuple(tags)
    index = {tag: column for column, tag in enumerate(kept)}
    places = np.array([index.get(tag, -1) for tag in draft.tags], dtype=np.int32)

    def move(pairs: Pairs) -> Pairs:
        moved = np.column_stack((pairs[:, 0], places[pairs[:, 1]]))
        return moved[moved[:, 1] >= 0]

    return replace(draft, tags=kept, labels=move(draft.labels), known=move(draft.known))


def _require(tags: Iterable[str], draft: Draft) -> None:
    there = set(draft.tags)
    missing = next((tag for tag in tags if tag not in there), None)
    if missing is not None:
        msg = f"{draft.name} does not have the tag {missing!r}; leave it out, or correct its spelling."
        raise DatasetError(msg)


def _count(columns: Pairs, n_columns: int) -> list[int]:
    counts: list[int] = np.bincount(columns, minlength=n_columns).tolist()
    return counts


def _count_artists(draft: Draft) -> dict[str, int]:
    """Count the artists who have a tag."""
    artists = number_artists(draft.artists, draft.paths)
    n_tags = len(draft.tags)
    keys = np.unique(artists[draft.labels[:, 0]].astype(np.int64) * n_tags + draft.labels[:, 1])
    return dict(zip(draft.tags, _count((keys % n_tags).astype(np.int32), n_tags), strict=True))
