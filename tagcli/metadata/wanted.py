"""Which values a file is to hold, whatever its container: own fields and the genre."""

import re
from collections.abc import Mapping

from tagcli.metadata.fields import (
    MODEL_FIELD,
    SCORE_DECIMALS,
    SCORE_TOLERANCE,
    SCORES_FIELD,
    SEPARATORS,
    SETTINGS_FIELD,
    TAGS_FIELD,
    Fields,
    GenrePolicy,
)


def choose_own_values(fields: Fields, stored: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Choose the values of tagcli's own fields.

    Parameters
    ----------
    fields
        What is to be stored.
    stored
        The values that the file holds now, by the names of the own fields.

    Returns
    -------
    dict of str to tuple of str
        Values by field, in the order in which they are written; an empty tuple where the field is to be absent.
        Scores stay as stored when all else is the same and none moved by more than its last digit.
    """
    values = {
        TAGS_FIELD: fields.tags,
        SCORES_FIELD: tuple(f"{score:.{SCORE_DECIMALS}f}" for score in fields.scores),
        MODEL_FIELD: (fields.model,) if fields.model else (),
        SETTINGS_FIELD: (fields.settings,) if fields.settings else (),
    }
    old_scores = stored.get(SCORES_FIELD, ())
    is_same_otherwise = all(stored.get(field, ()) == values[field] for field in values if field != SCORES_FIELD)
    if is_same_otherwise and _are_close(old_scores, values[SCORES_FIELD]):
        values[SCORES_FIELD] = old_scores
    return values


def choose_genres(
    stored: tuple[str, ...], named: tuple[str, ...], candidates: tuple[str, ...], policy: GenrePolicy
) -> tuple[str, ...]:
    """Choose the values of the genre field.

    Parameters
    ----------
    stored
        The values that the file holds now.
    named
        The same values, with references to numbered genres resolved.
    candidates
        Genres to be stored, best first.
    policy
        What happens to the field.

    Returns
    -------
    tuple of str
        The values; `stored` itself when nothing changes.
    """
    by_key: dict[str, str] = {}
    for candidate in candidates:
        by_key.setdefault(candidate.strip().casefold(), candidate)
    genres = tuple(by_key.values())
    match policy:
        case GenrePolicy.FILL if not any(value.strip() for value in stored):
            return genres or stored
        case GenrePolicy.REPLACE:
            return genres or stored
        case GenrePolicy.APPEND:
            present = {part.strip().casefold() for value in (*stored, *named) for part in _split(value)}
            missing = tuple(genre for genre in genres if genre.strip().casefold() not in present)
            return (*(value for value in named if value.strip()), *missing) if missing else stored
        case _:
            return stored


def _are_close(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    try:
        return all(abs(float(a) - float(b)) <= SCORE_TOLERANCE for a, b in zip(old, new, strict=True))
    except ValueError:  # Another number of scores, or no numbers.
        return False


def _split(value: str) -> list[str]:
    # "R&B/Soul" is present as a whole as well as in its parts.
    return [value, *re.split(f"[{SEPARATORS}]", value)]
