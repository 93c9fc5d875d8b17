"""Tag audio collections by listening to them.

`load_tagger` is the library's front door; the program is ``tagcli``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagcli.tagger import Tagger, load_tagger

__version__ = "0.1.0"
__all__ = ["Tagger", "__version__", "load_tagger"]


def __getattr__(name: str) -> object:
    """Import torch and the rest only when the library is used, so that the program starts fast."""
    if name in ("Tagger", "load_tagger"):
        from tagcli import tagger

        return getattr(tagger, name)
    msg = f"module 'tagcli' has no attribute {name!r}"
    raise AttributeError(msg)
