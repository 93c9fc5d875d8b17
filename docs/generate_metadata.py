"""Print docs/metadata.md with the names of the fields as the program itself gives them.

Run: python docs/generate_metadata.py > metadata.md.new && mv metadata.md.new docs/metadata.md
"""

import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from tagcli.metadata import Dialect, Field, name_fields

PAGE = Path(__file__).parent / "metadata.md"
BEGIN, END = "<!-- names: generated -->", "<!-- end of names -->"
RATE = 44_100
COLUMNS = {
    "ID3v2.4": ("mp3", "mp3", Dialect(new_version=4)),
    "ID3v2.3": ("mp3", "mp3", Dialect(new_version=3)),
    "Vorbis comments": ("flac", "flac", Dialect()),
    "MP4": ("aac", "ipod", Dialect()),
    "APEv2": ("wavpack", "wv", Dialect()),
    "ASF": ("wmav2", "asf", Dialect()),
}
MEANINGS = {
    Field.TAGS: "tags, best first",
    Field.SCORES: "their scores, three decimals",
    Field.MODEL: "model",
    Field.SETTINGS: "settings of the run",
    Field.ADDED: "values added to the fields below",
    Field.GENRE: "genre, by `--genre`",
    Field.MOOD: "mood, by `--mood`",
    Field.GROUPING: "grouping, by `--grouping`",
    Field.COMMENT: "comment, by `--comment`",
}


def make_file(path: Path, codec: str, muxer: str) -> None:
    """Write a moment of silence."""
    options = {"id3v2_version": "0", "write_id3v1": "0"} if muxer == "mp3" else {}
    with av.open(str(path), "w", format=muxer, options=options) as output:
        stream = output.add_stream(codec, rate=RATE, layout="mono")
        stream.bit_rate = 128_000
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", RATE, stream.codec_context.frame_size or 1152
        )
        frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE // 5), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = RATE
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))


def make_table() -> str:
    """Make the table of names."""
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for column, (codec, muxer, dialect) in COLUMNS.items():
            path = Path(folder) / "track"
            make_file(path, codec, muxer)
            names[column] = name_fields(path, dialect=dialect)
    lines = [f"| what | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for field, meaning in MEANINGS.items():
        lines.append(f"| {meaning} | " + " | ".join(f"`{names[column][field]}`" for column in COLUMNS) + " |")
    return "\n".join(lines)


def make_page() -> str:
    """Put the table into its place on the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n{make_table()}\n{END}{behind}"


if __name__ == "__main__":
    sys.stdout.write(make_page())
