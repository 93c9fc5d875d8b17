"""Which values a file is to hold, whatever its container: own fields, and those that are the user's."""

import re
from collections.abc import Mapping
from dataclasses import replace

from tagcli.metadata.fields import (
    JOINER,
    OWN_NAMES,
    SCORE_DECIMALS,
    SCORE_TOLERANCE,
    SEPARATORS,
    SHARED_FIELDS,
    Field,
    FieldChange,
    FieldPolicy,
    Fields,
    Held,
    Policies,
    UnwritableError,
)


def choose_changes(held: Mapping[Field, Held], fields: Fields, policies: Policies) -> tuple[FieldChange, ...]:
    """Find what storing fields would change.

    Parameters
    ----------
    held
        What the file holds; a field that its container cannot store is missing.
    fields
        What is to be stored.
    policies
        What happens to the fields that are not tagcli's own. What of their values tagcli adds is stored as well, and
        counts as absent the next time: new values take its place, and the user's stay.

    Returns
    -------
    tuple of FieldChange
        The changes; empty when the file holds it all.

    Raises
    ------
    UnwritableError
        When a field cannot be read and is to be added to.
    """
    wanted = _choose_own_values(held, fields)
    ours = list_added(held)
    added: dict[Field, tuple[str, ...]] = {}
    for shared in SHARED_FIELDS:
        if shared not in held:
            continue
        now, policy = held[shared], policies.of(shared)
        candidates = _leave_doubles_out(fields.shared[shared])[: now.most]
        if policy is FieldPolicy.APPEND and candidates and now.is_opaque:
            message = f"its {shared} cannot be read, and not be added to"
            raise UnwritableError(message)
        theirs = _take_back(shared, now, ours[shared])
        is_kept = policy is FieldPolicy.NEVER or (policy is FieldPolicy.FILL and _has_content(theirs))
        if is_kept or (now.is_opaque and not candidates):
            wanted[shared] = now.values
            added[shared] = ours[shared] if now.is_opaque or theirs != now.values else ()
            continue
        choose = _choose_text if _is_text(shared, now) else _choose_values
        wanted[shared], added[shared] = choose(replace(now, values=theirs), candidates, policy)
    wanted[Field.ADDED] = tuple(f"{shared}={value}" for shared, values in added.items() for value in values)
    return _list_changes(held, wanted)


def choose_removal(held: Mapping[Field, Held]) -> tuple[FieldChange, ...]:
    """Find what removing everything that tagcli stored would change.

    Parameters
    ----------
    held
        What the file holds.

    Returns
    -------
    tuple of FieldChange
        The changes; empty when nothing is tagcli's.

    Raises
    ------
    UnwritableError
        When a part of a field cannot be read and another part is to be removed.
    """
    ours = list_added(held)
    wanted: dict[Field, tuple[str, ...]] = dict.fromkeys(OWN_NAMES, ())
    for shared in SHARED_FIELDS:
        if shared not in held:
            continue
        wanted[shared] = _take_back(shared, held[shared], ours[shared])
        if held[shared].is_opaque and ours[shared]:
            message = f"its {shared} cannot be read, and nothing taken from it"
            raise UnwritableError(message)
    return _list_changes(held, wanted)


def list_added(held: Mapping[Field, Held]) -> dict[Field, tuple[str, ...]]:
    """Tell which values of the user's fields tagcli added.

    Parameters
    ----------
    held
        What the file holds.

    Returns
    -------
    dict of Field to tuple of str
        By field; a value may have been removed since.
    """
    entries = [entry.partition("=") for entry in (held[Field.ADDED].values if Field.ADDED in held else ())]
    return {shared: tuple(value for name, _, value in entries if name == shared) for shared in SHARED_FIELDS}


def _choose_own_values(held: Mapping[Field, Held], fields: Fields) -> dict[Field, tuple[str, ...]]:
    """Choose the values of tagcli's own fields.

    Scores stay as stored when all else is the same and none moved by more than its last digit.
    """
    values = {
        Field.TAGS: fields.tags,
        Field.SCORES: tuple(f"{score:.{SCORE_DECIMALS}f}" for score in fields.scores),
        Field.MODEL: (fields.model,) if fields.model else (),
        Field.SETTINGS: (fields.settings,) if fields.settings else (),
    }
    if fields.keeps_provenance and held[Field.TAGS].values == values[Field.TAGS]:
        is_same = _are_close(held[Field.SCORES].values, values[Field.SCORES])
        values |= {own: held[own].values for own in (Field.MODEL, Field.SETTINGS)} if is_same else {}
    is_same_otherwise = all(held[own].values == values[own] for own in values if own is not Field.SCORES)
    if is_same_otherwise and _are_close(held[Field.SCORES].values, values[Field.SCORES]):
        values[Field.SCORES] = held[Field.SCORES].values
    return values


def _is_text(shared: Field, now: Held) -> bool:
    """Tell whether a field is a text, which is added to, and not a list of values."""
    return now.is_text or shared is Field.COMMENT


def _choose_values(
    now: Held, candidates: tuple[str, ...], policy: FieldPolicy
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the values of a field of the user's, and tell which are added; `now` is without those of tagcli's."""
    match policy:
        case FieldPolicy.FILL if candidates:
            return candidates, candidates
        case FieldPolicy.REPLACE if candidates and candidates != now.values:
            return candidates, tuple(value for value in candidates if value not in (*now.values, *_name(now)))
        case FieldPolicy.APPEND:
            named = _name(now)
            kept = tuple(value for value in named if value.strip())
            missing = _find_missing((*now.values, *named), candidates)
            if now.most is not None:
                missing = missing[: max(0, now.most - len(kept))]
            if missing:
                return (*kept, *missing), missing
    return now.values, ()


def _choose_text(
    now: Held, candidates: tuple[str, ...], policy: FieldPolicy
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the one text of a field that is the user's; what is there stays as it is."""
    match policy:
        case FieldPolicy.FILL if candidates:
            return (JOINER.join(candidates),), candidates
        case FieldPolicy.REPLACE if candidates and (JOINER.join(candidates),) != now.values:
            return (JOINER.join(candidates),), candidates
        case FieldPolicy.APPEND if missing := _find_missing(now.values, candidates):
            theirs = tuple(value for value in now.values if value.strip())
            *others, text = theirs or ("",)  # several comments are rare, and stay several
            return (*others, JOINER.join(filter(None, (text, *missing)))), missing
    return now.values, ()


def _take_back(shared: Field, now: Held, ours: tuple[str, ...]) -> tuple[str, ...]:
    """Give the values of a field without what tagcli added to them."""
    if not _is_text(shared, now):
        return tuple(value for value in now.values if value not in ours)
    added = JOINER.join(ours)
    shorter = (text.removesuffix(JOINER + added).removeprefix(added + JOINER) if ours else text for text in now.values)
    return tuple(text for text in shorter if not ours or text != added)


def _name(now: Held) -> tuple[str, ...]:
    """Give the values of a field with references to numbered genres resolved."""
    return tuple(name for value in now.values for name in now.named.get(value, (value,)))


def _has_content(values: tuple[str, ...]) -> bool:
    return any(value.strip() for value in values)


def _find_missing(values: tuple[str, ...], candidates: tuple[str, ...]) -> tuple[str, ...]:
    present = {part.strip().casefold() for value in values for part in _split(value)}
    return tuple(value for value in candidates if value.strip().casefold() not in present)


def _list_changes(held: Mapping[Field, Held], wanted: Mapping[Field, tuple[str, ...]]) -> tuple[FieldChange, ...]:
    changes = []
    for changed, values in wanted.items():
        now = held[changed]
        is_untidy = changed in OWN_NAMES and not now.is_tidy
        if now.values != values or is_untidy:
            changes.append(FieldChange(field=changed, name=now.name, old=now.values, new=values))
    return tuple(changes)


def _leave_doubles_out(candidates: tuple[str, ...]) -> tuple[str, ...]:
    by_key: dict[str, str] = {}
    for candidate in candidates:
        by_key.setdefault(candidate.strip().casefold(), candidate)
    return tuple(by_key.values())


def _are_close(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    try:
        return all(abs(float(a) - float(b)) <= SCORE_TOLERANCE for a, b in zip(old, new, strict=True))
    except ValueError:  # Another number of scores, or no numbers.
        return False


def _split(value: str) -> list[str]:
    # "R&B/Soul" is present as a whole as well as in its parts.
    return [value, *re.split(f"[{SEPARATORS}]", value)]
