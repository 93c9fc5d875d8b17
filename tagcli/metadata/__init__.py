"""The metadata of audio files: plan what a write would change, write it without harming a file, read what is stored."""

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
