"""Whether pictures can be drawn, and a finished one put into a file."""

import warnings
from typing import IO, TYPE_CHECKING

from tagcli.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def check_drawable() -> None:
    """See that pictures can be drawn, before anything is computed for one.

    Raises
    ------
    OutputError
        When matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401  # only whether it is there
    except ImportError as error:
        msg = "Pictures need matplotlib; install it with `pip install 'tagcli[plots]'`."
        raise OutputError(msg) from error


def save_figure(figure: "Figure", file: IO[bytes], *, format_: str) -> None:
    """Write a picture; letters that the font does not have become boxes.

    Parameters
    ----------
    figure
        The picture.
    file
        Where it goes.
    format_
        One of `FORMATS`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(file, format=format_)
