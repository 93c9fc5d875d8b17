"""MagnaTagATune: the table that it is published as, or an index of clips with lists of labels.

The usual split is by folder: 0 to b train, c validation, d to f test. Artists are those of ``clip_info_final.csv``, or
what a clip's name begins with (``f/artist-album-number-title-start-end.mp3``).
https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset
"""

import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.datasets.draft import Draft, find_pairs
from tagcli.datasets.manifest import Mask
from tagcli.datasets.msd_split import find_tag_list
from tagcli.datasets.places import place_below
from tagcli.datasets.splits import find_split
from tagcli.datasets.text_files import read_table, read_tag_list, read_text
from tagcli.errors import DatasetError

ANNOTATIONS = "annotations_final.csv"
_CLIP_INFO = "clip_info_final.csv"
_ID, _PATH = "clip_id", "mp3_path"
_INDEX, _LABEL_LISTS = "index_mtt.tsv", "*_gt_mtt.tsv"
_SPLIT_OF_FOLDER = dict.fromkeys("0123456789ab", "train") | {"c": "validation"} | dict.fromkeys("def", "test")

logger = logging.getLogger(__name__)


def is_annotations(first_line: bytes) -> bool:
    """Tell whether a file that begins with this line is the table of annotations."""
    names = [name.strip(b'" ') for name in first_line.split(b"\t")]
    return _ID.encode() in names and _PATH.encode() in names


def is_index(first_line: bytes) -> bool:
    """Tell whether a file that begins with this line is an index of clips."""
    clip, _, path = first_line.partition(b"\t")
    return clip.isdigit() and path.endswith(b".mp3")


def find_index(folder: Path) -> Path | None:
    """Find the index of the other form."""
    return next((path for path in (folder / _INDEX, folder / f"{_INDEX}.gz") if path.is_file()), None)


def read_annotations(path: Path, *, root: Path | None) -> Draft:
    """Read the table of annotations.

    Parameters
    ----------
    path
        ``annotations_final.csv``: tabulators between quoted cells, ``clip_id``, a column for each tag, ``mp3_path``.
    root
        Folder that the clips are in; None for the table's own.

    Raises
    ------
    DatasetError
        When it cannot be read, or a cell is not 0 or 1.
    """
    table = read_table(path, delimiter="\t")
    table.require(_ID, _PATH)
    tags = tuple(name for name in table.columns if name not in (_ID, _PATH))
    cells: npt.NDArray[np.str_] = np.array([table.columns[tag] for tag in tags])
    labels: Mask = cells == "1"
    if not np.all(labels | (cells == "0")):
        column, row = np.argwhere(~labels & (cells != "0"))[0].tolist()
        msg = f"Line {table.lines[row]} of {path} has {str(cells[column, row])!r:.40} for {tags[column]!r}, not 0 or 1;"
        raise DatasetError(msg + " correct it.", path=path)
    root = root or path.parent
    paths = [
        place_below(clip, root, place=f"line {line}", table=path)
        for clip, line in zip(table.columns[_PATH], table.lines, strict=True)
    ]
    ids = table.columns[_ID]
    artists = _read_artists(path.with_name(_CLIP_INFO))
    return Draft.of_files(
        name="magnatagatune",
        root=root,
        paths=paths,
        tags=tags,
        labels=find_pairs(labels.T),
        ids=ids,
        splits=[_SPLIT_OF_FOLDER.get(clip[0].lower(), "") for clip in paths],
        artists=[artists.get(id_) or _find_artist(clip) for id_, clip in zip(ids, paths, strict=True)],
    )


def read_index(path: Path, *, root: Path | None, column_tags: tuple[str, ...] | None) -> Draft:
    """Read ``{train,val,test}_gt_mtt.tsv``, lists of labels by clip, and the index that says where clips lie.

    Parameters
    ----------
    path
        The index: a clip's identifier and its path a line. The lists lie beside it, plain or gzipped.
    root
        Folder that the clips are in; None for the index's own.
    column_tags
        Tags in the order of the lists where no ``tags.txt`` or ``tags.py`` lies beside; None when they are not given.

    Raises
    ------
    DatasetError
        When a file cannot be read, or they do not fit together.
    """
    tag_list = find_tag_list(path.parent)
    tags = column_tags if tag_list is None else read_tag_list(tag_list)
    if tags is None:
        msg = f"{path.parent} has no tags.txt that names the columns of its labels; give the tags with --tags."
        raise DatasetError(msg, path=path)
    clips = dict(_read_pairs(path))
    files = sorted((*path.parent.glob(_LABEL_LISTS), *path.parent.glob(f"{_LABEL_LISTS}.gz")))
    root = root or path.parent
    ids: list[str] = []
    paths: list[str] = []
    splits: list[str] = []
    labels: list[Mask] = []
    for file in files:
        for line, (clip, values) in enumerate(_read_pairs(file), start=1):
            if clip not in clips:
                msg = f"Line {line} of {file} is of the clip {clip:.40}, which {path} does not have; get them again."
                raise DatasetError(msg, path=file)
            ids.append(clip)
            paths.append(place_below(clips[clip], root, place=f"clip {clip}", table=path))
            labels.append(_read_labels(values, tags, place=f"line {line}", file=file))
            splits.append(find_split(file.name) or "")
    if not labels:
        msg = f"No list of labels such as test_gt_mtt.tsv lies beside {path}; put them there."
        raise DatasetError(msg, path=path)
    return Draft.of_files(
        name="magnatagatune",
        root=root,
        paths=paths,
        tags=tags,
        labels=find_pairs(np.array(labels)),
        ids=ids,
        splits=splits,
        artists=[_find_artist(clip) for clip in paths],
    )


def _read_artists(path: Path) -> dict[str, str]:
    """Read the artists by clip; nothing when the table is not there."""
    if not path.is_file():
        logger.warning("%s is not there, so artists are those of the clips' names.", path)
        return {}
    table = read_table(path, delimiter="\t", errors="replace")  # an artist need not be spelled right to be one
    table.require(_ID, "artist")
    return dict(zip(table.columns[_ID], table.columns["artist"], strict=True))


def _find_artist(clip: str) -> str:
    """Find the artist in the name of a clip."""
    return clip.rpartition("/")[2].partition("-")[0]


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a file of two cells a line."""
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        first, tab, second = line.partition("\t")
        if not tab or not first or not second:
            msg = f"Line {number} of {path} does not have an identifier, a tabulator and a value; get it again."
            raise DatasetError(msg, path=path)
        pairs.append((first, second))
    if not pairs:
        msg = f"{path} is empty; get it again."
        raise DatasetError(msg, path=path)
    return pairs


def _read_labels(text: str, tags: tuple[str, ...], *, place: str, file: Path) -> Mask:
    """Read a list such as ``[0.0, 1.0]``."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(tags) or not all(value in (0, 1) for value in values):
        msg = f"{place.capitalize()} of {file} is no list of {len(tags)} numbers that are 0 or 1; check the tags."
        raise DatasetError(msg, path=file)
    return np.array(values, dtype=np.bool_)
