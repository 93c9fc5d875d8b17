"""Where the files of a table lie: below its root, and nowhere else."""

import os
from pathlib import Path

from tagcli.errors import DatasetError


def place_below(path: str, root: Path, *, place: str, table: Path) -> str:
    """Give a path relative to its root.

    Parameters
    ----------
    path
        As a table has it.
    root
        Folder that it is to be in.
    place
        Where in the table, for the message.
    table
        The table, for the message.

    Raises
    ------
    DatasetError
        When the path leads out of the root, for a table that came from elsewhere is not to open any file of this
        machine; or when no file can have that name.
    """
    if "\0" in path:
        msg = f"{place} of {table} has the path {path!r}, and no name holds a zero byte; correct it."
        raise DatasetError(msg, path=table)
    if path and ".." not in path and path[0] not in "./\\" and path[1:2] != ":" and "/./" not in path:
        return path
    top = os.path.abspath(root)  # noqa: PTH100  # resolve would follow links, which the user has set
    whole = os.path.abspath(root / path)  # noqa: PTH100  # the same
    if Path(whole) != Path(top) and Path(whole).is_relative_to(top):
        return Path(whole).relative_to(top).as_posix()
    msg = f"{place} of {table} leads out of {root} ({path!r}); give the folder that holds the audio with --audio."
    raise DatasetError(msg, path=table)
