"""An evaluation that was stored as JSON, read back as far as its tags go."""

import json
import math
from pathlib import Path
from typing import Any

from tagcli.errors import DatasetError
from tagcli.evaluation.evaluating import Estimate, TagEvaluation
from tagcli.tags import Category
from tagcli.weights.vocabularies import find_category


def read_tag_evaluations(path: Path) -> tuple[TagEvaluation, ...]:
    """Read what ``tagcli eval --format json`` has found of each tag.

    Parameters
    ----------
    path
        The document; intervals and categories may be missing.

    Raises
    ------
    DatasetError
        When it cannot be read, or is no evaluation.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        return tuple(map(_read_tag, document["per_tag"]))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check the path."
        raise DatasetError(msg, path=path) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        msg = f"{path} is no evaluation; write one with `tagcli eval --format json -o FILE`."
        raise DatasetError(msg, path=path) from error


def _read_tag(fields: dict[str, Any]) -> TagEvaluation:
    """Read one tag; what is null is not defined."""
    tag, category = fields["tag"], fields.get("category")
    if not isinstance(tag, str):
        msg = f"{tag!r:.40} is no tag"
        raise TypeError(msg)
    return TagEvaluation(
        tag=tag,
        category=find_category(tag) if category is None else Category(category),
        n_positive=int(fields["n_positive"]),
        n_negative=int(fields["n_negative"]),
        roc_auc=_read_estimate(fields, "roc_auc"),
        pr_auc=_read_estimate(fields, "pr_auc"),
    )


def _read_estimate(fields: dict[str, Any], name: str) -> Estimate:
    """Read a figure and its interval, where it has one."""
    value, low, high = (
        math.nan if number is None else float(number)
        for number in (fields[name], fields.get(f"{name}_low"), fields.get(f"{name}_high"))
    )
    return Estimate(value=value, low=low, high=high)
