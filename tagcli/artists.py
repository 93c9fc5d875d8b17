"""When two names are of one artist."""

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=1 << 16)  # a data set names an artist once for each track
def artist_key(name: str) -> str:
    """Make a name into what is the same for every spelling of it; nothing when it names nobody.

    Capitals, spaces and the ways in which Unicode writes one character do not count (compatibility caseless matching:
    The Unicode Standard, section 3.13, D146, without the decomposition before it).
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())
