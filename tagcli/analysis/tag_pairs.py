"""Pairs of tags in the order of a number that each of them has, and the tags that a picture of pairs shows."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tagcli.errors import DatasetError
from tagcli.tags import Category
from tagcli.weights.vocabularies import find_category

Values = npt.NDArray[np.float64]

SHOWN_TAGS = (
    "rock",
    "classic rock",
    "hard rock",
    "alternative",
    "alternative rock",
    "indie",
    "indie rock",
    "metal",
    "heavy metal",
    "electronic",
    "electronica",
    "dance",
    "House",
    "soul",
    "rnb",
    "female vocalists",
    "female vocalist",
    "guitar",
    "sad",
    "beautiful",
    "Mellow",
    "60s",
    "oldies",
)
"""Tags of the Million Song Dataset's 50 that a picture shows: 23, as in Choi et al. 2017 ("The effects of noisy
labels"), figure 1, and of the same kinds. Which ones the paper has is legible in its figure only; these are those that
most of the pairs in its table III and section III-A are made of."""


def rank_pairs(values: Values, support: Values | None = None) -> npt.NDArray[np.intp]:
    """Order pairs of tags, the highest value first.

    Parameters
    ----------
    values
        [shape=(n_tags, n_tags)]; nan where there is no such pair.
    support
        Which of two pairs of the same value goes first: that of the higher support [shape=(n_tags, n_tags)]. What
        this does not decide, the order of the tags does.

    Returns
    -------
    numpy.ndarray
        Row and column of each pair [shape=(n_pairs, 2)].
    """
    pairs = np.argwhere(~np.isnan(values))
    rows, columns = pairs.T
    weight = np.zeros(len(pairs)) if support is None else support[rows, columns]
    order: npt.NDArray[np.intp] = np.lexsort((-weight, -values[rows, columns]))
    ranked: npt.NDArray[np.intp] = pairs[order]
    return ranked


def find_tags(wanted: Iterable[str], tags: Sequence[str], *, source: str) -> list[int]:
    """Find the places of tags, by their spelling or else by their letters, each once, in the wanted order.

    Parameters
    ----------
    wanted
        What the user calls them.
    tags
        Where they are to be found.
    source
        What has these tags, for people.

    Raises
    ------
    DatasetError
        When there is no such tag.
    """
    by_letters = {tag.casefold(): place for place, tag in reversed(list(enumerate(tags)))}
    by_spelling = {tag: place for place, tag in enumerate(tags)}
    places: dict[int, None] = {}
    for name in wanted:
        place = by_spelling.get(name, by_letters.get(name.casefold()))
        if place is None:
            msg = f"{source} does not have the tag {name!r}; leave it out, or correct its spelling."
            raise DatasetError(msg)
        places[place] = None
    return list(places)


def choose_shown(tags: Sequence[str], *, by_importance: Iterable[int]) -> list[int]:
    """Choose the tags that a picture shows, those of one kind side by side.

    Parameters
    ----------
    tags
        There are these.
    by_importance
        Their places, the most important first, for tags that are not those of `SHOWN_TAGS`.

    Returns
    -------
    list of int
        Places of as many tags as `SHOWN_TAGS` has, or of all when there are fewer.
    """
    by_letters = {tag.casefold(): place for place, tag in enumerate(tags)}
    places = [by_letters[tag.casefold()] for tag in SHOWN_TAGS if tag.casefold() in by_letters]
    if len(places) == len(SHOWN_TAGS):
        return places
    kinds = list(Category)
    chosen = list(dict.fromkeys(by_importance))[: len(SHOWN_TAGS)]
    return sorted(chosen, key=lambda place: kinds.index(find_category(tags[place])))
