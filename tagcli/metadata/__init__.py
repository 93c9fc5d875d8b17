"""The metadata of audio files: plan what a write would change, write it without harming a file, read what is stored."""

from tagcli.metadata.fields import (
    FieldChange,
    Fields,
    GenrePolicy,
    Metadata,
    StoredField,
    WritePlan,
)
from tagcli.metadata.plan import apply_plan, plan_write, read_metadata

__all__ = [
    "FieldChange",
    "Fields",
    "GenrePolicy",
    "Metadata",
    "StoredField",
    "WritePlan",
    "apply_plan",
    "plan_write",
    "read_metadata",
]
