"""What an importer demands of a published file before it believes a single number in it."""

from collections.abc import Mapping
from pathlib import Path

from tagcli.errors import CheckpointError

Layout = Mapping[str, tuple[tuple[int, ...], str]]


def check_layout(source: Path, found: Layout, expected: Layout) -> None:
    """Compare the tensors of a file with those of its format.

    Parameters
    ----------
    source
        The file, for the message.
    found, expected
        Shape and dtype (``float32``, ``int64``) of each tensor by its name.

    Raises
    ------
    CheckpointError
        Naming the first tensor that is missing, unknown, or of another shape or dtype.
    """
    for key, (shape, dtype) in expected.items():
        if key not in found:
            msg = f"{source} has no tensor {key}, so it is not of this format; check which file it is."
            raise CheckpointError(msg, path=source)
        if found[key] != (shape, dtype):
            actual_shape, actual_dtype = found[key]
            msg = (
                f"The tensor {key} of {source} is {actual_dtype} {actual_shape} in place of {dtype} {shape}; "
                "check which file it is."
            )
            raise CheckpointError(msg, path=source)
    for key in found:
        if key not in expected:
            msg = f"{source} has a tensor {key} that its format does not know; check which file it is."
            raise CheckpointError(msg, path=source)
