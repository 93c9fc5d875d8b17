"""The metadata of audio files: plan what a write would change, write it without harming a file, read what is stored.

The doors stand in `tagcli.metadata.plan`, which brings every container and mutagen along. It is imported when the first
of them is asked for: options and help texts need the words only.
"""

from typing import TYPE_CHECKING, Any

from tagcli.metadata.fields import (
    Dialect,
    Field,
    FieldChange,
    FieldPolicy,
    Fields,
    Metadata,
    Policies,
    StoredField,
    WritePlan,
)

if TYPE_CHECKING:
    from tagcli.metadata.plan import Write, apply_plan, name_fields, plan_removal, plan_write, read_metadata

__all__ = [
    "Dialect",
    "Field",
    "FieldChange",
    "FieldPolicy",
    "Fields",
    "Metadata",
    "Policies",
    "StoredField",
    "Write",
    "WritePlan",
    "apply_plan",
    "name_fields",
    "plan_removal",
    "plan_write",
    "read_metadata",
]


def __getattr__(name: str) -> Any:
    """Import the doors when one of them is asked for."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tagcli.metadata import plan

    return getattr(plan, name)
