"""Arrays out of the HDF5 groups of a Keras file."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from tagcli.errors import CheckpointError
from tagcli.weights.importers.layout import Layout, check_layout

Array = npt.NDArray[np.float32]


def find_datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Find all data sets below a group, by their paths in it; raises what h5py makes of damaged bytes."""
    datasets: dict[str, h5py.Dataset] = {}

    def collect(key: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[key] = item

    group.visititems(collect)
    return datasets


def read_arrays(source: Path, datasets: Mapping[str, h5py.Dataset], layout: Layout) -> dict[str, Array]:
    """Read data sets, by their names.

    Parameters
    ----------
    source
        The file, for the message.
    datasets
        What there is.
    layout
        What there has to be.

    Raises
    ------
    CheckpointError
        When there are others, or a value is not finite.
    OSError, RuntimeError, KeyError, TypeError, ValueError
        What h5py makes of damaged bytes.
    """
    check_layout(source, {key: (tuple(item.shape), str(item.dtype)) for key, item in datasets.items()}, layout)
    arrays = {key: np.asarray(item[()], dtype=np.float32) for key, item in datasets.items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            msg = f"The tensor {key} of {source} holds values that are not finite; the file is no use as weights."
            raise CheckpointError(msg, path=source)
    return arrays
