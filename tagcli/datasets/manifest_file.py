"""A manifest as a file: a TSV of one line an example, and beside it, of the same name, a TOML.

The TOML says what a table cannot: the folder that the paths are in, and the tags in their order. Without it the paths
are in the manifest's own folder and the tags are ordered by their counts.
"""

import csv
import math
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.datasets.manifest import Manifest, Mask, Seconds, format_seconds, name_example, order_tags
from tagcli.datasets.places import place_below
from tagcli.errors import DatasetError
from tagcli.typed import parse_typed

FORMAT_VERSION = 1
COLUMNS = ("path", "split", "artist", "start_seconds", "duration_seconds", "labels", "known")
ID_COLUMN = "id"  # written where a data set has identifiers of its own
TAG_SEPARATOR = "|"
ALL_KNOWN = "*"


def read_manifest(path: Path, *, root: Path | None = None) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    path
        The TSV; the TOML is looked for beside it.
    root
        Folder that the paths are in, in place of what the TOML says.

    Raises
    ------
    DatasetError
        When it cannot be read, is no manifest, names a tag that its TOML does not have, leads out of its root, or has
        an example twice: two of one identifier, or where none are given, of one excerpt.
    """
    description = _read_description(path)
    root = root or path.parent / description.root
    header, lines = _read_lines(path)
    if not lines:
        msg = f"{path} holds no example; build it again."
        raise DatasetError(msg, path=path)
    columns = dict(zip(header, zip(*lines, strict=True), strict=True))
    n_examples = len(lines)
    blank = ("",) * n_examples
    places = [f"line {number}" for number in range(2, n_examples + 2)]
    paths = tuple(
        place_below(value, root, place=place, table=path) for value, place in zip(columns["path"], places, strict=True)
    )
    starts = _to_seconds(columns.get("start_seconds", blank), default=0.0, table=path)
    durations = _to_seconds(columns.get("duration_seconds", blank), default=math.nan, table=path)
    given_labels, given_known = columns["labels"], columns.get("known", (ALL_KNOWN,) * n_examples)
    tags = description.tags or _collect_tags(given_labels, given_known)
    labels = _to_mask(given_labels, tags, table=path)
    ids = columns.get(ID_COLUMN) or tuple(map(name_example, paths, starts.tolist(), durations.tolist()))
    _refuse_twice(ids, table=path)
    return Manifest(
        name=description.name or path.stem,
        root=root,
        tags=tags,
        paths=paths,
        ids=ids,
        splits=columns.get("split", blank),
        artists=columns.get("artist", blank),
        starts_seconds=starts,
        durations_seconds=durations,
        labels=labels,
        known=_to_mask(given_known, tags, table=path) | labels,
    )


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest and its description, each whole or not at all.

    Parameters
    ----------
    manifest
        The data set.
    path
        The TSV; the TOML gets its name.

    Raises
    ------
    DatasetError
        When a file cannot be written, or a path, tag or artist holds a tab or an end of line, or a tag a ``|``.
    """
    import tomli_w

    refuse_unwritable(manifest, path)
    names: npt.NDArray[np.object_] = np.array(manifest.tags, dtype=object)
    spelled: dict[bytes, str] = {}

    def spell(row: Mask) -> str:
        key = row.tobytes()
        if key not in spelled:
            spelled[key] = TAG_SEPARATOR.join(names[row])
        return spelled[key]

    default_ids = map(
        name_example, manifest.paths, manifest.starts_seconds.tolist(), manifest.durations_seconds.tolist()
    )
    has_ids = any(id_ != default for id_, default in zip(manifest.ids, default_ids, strict=True))
    lines = ["\t".join((*COLUMNS, ID_COLUMN) if has_ids else COLUMNS)]
    all_known: Mask = np.all(manifest.known, axis=1)
    for row, name in enumerate(manifest.paths):
        start, duration = manifest.starts_seconds[row], manifest.durations_seconds[row]
        cells = [
            name,
            manifest.splits[row],
            manifest.artists[row],
            format_seconds(start) if start else "",
            "" if math.isnan(duration) else format_seconds(duration),
            spell(manifest.labels[row]),
            ALL_KNOWN if all_known[row] else spell(manifest.known[row]),
        ]
        lines.append("\t".join([*cells, manifest.ids[row]] if has_ids else cells))
    absolute_root, folder = manifest.root.resolve(), path.parent.resolve()
    is_near = absolute_root.is_relative_to(folder)
    description = {
        "format_version": FORMAT_VERSION,
        "name": manifest.name,
        "root": (absolute_root.relative_to(folder) if is_near else absolute_root).as_posix(),
        "tags": list(manifest.tags),
    }
    _write_whole(path.with_suffix(".toml"), tomli_w.dumps(description).encode("utf-8", "surrogateescape"))
    _write_whole(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, kw_only=True)
class _Description:
    """What the TOML beside a manifest says."""

    name: str = ""
    root: str = "."
    tags: tuple[str, ...] = ()


def _read_description(table: Path) -> _Description:
    """Read the TOML beside a manifest, if there is one."""
    path = table.with_suffix(".toml")
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return _Description()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); it says where the audio of {table} lies."
        raise DatasetError(msg, path=path) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML ({error}); build the manifest again."
        raise DatasetError(msg, path=path) from error
    try:
        if content.pop("format_version", None) != FORMAT_VERSION:
            msg = f"format_version is not {FORMAT_VERSION}"
            raise ValueError(msg)
        description: _Description = parse_typed(_Description, content)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{path} is no description of a manifest that this tagcli reads ({error}); build the manifest again."
        raise DatasetError(msg, path=path) from error
    return description


def _read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read the header and the lines of a TSV, all of the same number of cells."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check the path."
        raise DatasetError(msg, path=path) from error
    except csv.Error as error:
        msg = f"{path} is not a TSV ({error}); build it again."
        raise DatasetError(msg, path=path) from error
    header, *rows = lines or [[]]
    if "path" not in header or "labels" not in header or len(set(header)) != len(header):
        msg = f"{path} has no columns `path` and `labels` in its first line; `tagcli dataset build` makes manifests."
        raise DatasetError(msg, path=path)
    while rows and not rows[-1]:  # blank lines at the end are no examples
        rows.pop()
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            msg = f"Line {number} of {path} has {len(row)} cells where the header has {len(header)}; build it again."
            raise DatasetError(msg, path=path)
    return header, rows


def _to_seconds(values: Sequence[str], *, default: float, table: Path) -> Seconds:
    """Read numbers of seconds; nothing is the default."""
    try:
        seconds = np.array([float(value) if value else default for value in values], dtype=np.float64)
    except ValueError as error:
        msg = f"{table} has a start or a duration that is no number ({error}); build it again."
        raise DatasetError(msg, path=table) from error
    if not np.all((seconds >= 0) & np.isfinite(seconds) | (np.isnan(seconds) & math.isnan(default))):
        msg = f"{table} has a start or a duration that is no number from 0 up; build it again."
        raise DatasetError(msg, path=table)
    return seconds


def _refuse_twice(ids: Sequence[str], *, table: Path) -> None:
    """Refuse two lines of one identifier."""
    first_lines: dict[str, int] = {}
    for line, id_ in enumerate(ids, start=2):
        if first_lines.setdefault(id_, line) != line:
            msg = f"Lines {first_lines[id_]} and {line} of {table} are the same example, {id_!r}; leave one out."
            raise DatasetError(msg, path=table)


def _collect_tags(labels: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Find the tags of a manifest without a description, ordered by their counts."""
    counts: Counter[str] = Counter()
    for text, n_rows in Counter(labels).items():
        for tag in filter(None, text.split(TAG_SEPARATOR)):
            counts[tag] += n_rows
    for text in set(known) - {ALL_KNOWN}:
        for tag in filter(None, text.split(TAG_SEPARATOR)):
            counts[tag] += 0
    return order_tags(counts)


def _to_mask(cells: Sequence[str], tags: tuple[str, ...], *, table: Path) -> Mask:
    """Make lists of tags into rows; few lists are different ones."""
    index = {tag: column for column, tag in enumerate(tags)}
    rows: dict[str, int] = {}
    distinct: list[Mask] = []
    order = np.empty(len(cells), dtype=np.intp)
    for number, text in enumerate(cells):
        if text not in rows:
            row = np.full(len(tags), text == ALL_KNOWN)
            for tag in filter(None, text.split(TAG_SEPARATOR)) if text != ALL_KNOWN else ():
                if tag not in index:
                    msg = f"Line {number + 2} of {table} has the tag {tag!r}, which its description does not have."
                    raise DatasetError(msg + " Build it again.", path=table)
                row[index[tag]] = True
            rows[text] = len(distinct)
            distinct.append(row)
        order[number] = rows[text]
    mask: Mask = np.array(distinct)[order]
    return mask


def refuse_unwritable(manifest: Manifest, table: Path) -> None:
    """Refuse what a TSV cannot hold.

    Raises
    ------
    DatasetError
        When a path, tag or artist holds a tab or an end of line, or a tag a ``|``.
    """
    for text in (*manifest.paths, *manifest.splits, *manifest.artists, *manifest.ids, *manifest.tags):
        if any(character in text for character in "\t\r\n"):
            msg = f"{text!r} holds a tab or an end of line, which {table} cannot hold; rename it or leave it out."
            raise DatasetError(msg, path=table)
        if not text.isascii():
            try:
                text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                msg = f"{text!r} holds half a character, which {table} cannot hold; rename it or leave it out."
                raise DatasetError(msg, path=table) from error
    for tag in manifest.tags:
        if not tag or TAG_SEPARATOR in tag or tag == ALL_KNOWN:
            msg = (
                f"The tag {tag!r} cannot stand in {table}: tags are separated by | and * is for all; map it to another."
            )
            raise DatasetError(msg, path=table)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file beside and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror}); check the folder and its free space."
        raise DatasetError(msg, path=path) from error
    finally:
        temporary.unlink(missing_ok=True)
