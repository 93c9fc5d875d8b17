"""The page of a taggram: one HTML file that needs neither matplotlib nor a network, and tells a score where one points.

The cells are paths of an SVG, one path for each shade, so that hours of music stay a file of moderate size. A few lines
of script find the score under the pointer; without them the picture, and a table of the tags, are there all the same.
"""

import json
from collections import defaultdict
from html import escape
from itertools import pairwise
from typing import IO
from unicodedata import east_asian_width

import numpy as np

from tagcli.figures.taggram_scales import COLOURS, find_top, format_time, has_hours, list_ticks, mix_colour
from tagcli.tagger.taggram import Taggram

_N_SHADES = 64
_WIDTH, _ROW, _FOOT = 1000.0, 24, 42  # of the cells, of a row and of the axis below, in units of the picture
_LETTER, _WIDE_LETTER = 7.5, 13.0  # widths; the wide ones are Chinese, Japanese and Korean
_MOST_LETTERS = 32  # of a tag beside its row; the table has all of them
_DECIMALS = 4

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; color: #222; background: #fff; margin: 1.5rem auto; max-width: 1300px; \
padding: 0 1rem }}
h1 {{ font-size: 1.3rem; margin: 0; overflow-wrap: anywhere }}
p {{ color: #555; margin: .2rem 0 1rem; overflow-wrap: anywhere }}
svg {{ width: 100%; height: auto; font-size: 13px }}
#cells {{ shape-rendering: crispEdges }}
#told {{ position: fixed; display: none; background: #222; color: #fff; padding: .2rem .5rem; border-radius: .3rem; \
font-size: 13px; pointer-events: none; white-space: pre; z-index: 1 }}
#scale {{ display: inline-block; width: 12rem; height: .9rem; vertical-align: middle; border: 1px solid #ccc; \
background: linear-gradient(to right, {colours}) }}
table {{ border-collapse: collapse; margin-top: 1rem }}
th, td {{ padding: .1rem 1rem .1rem 0; text-align: right; font-variant-numeric: tabular-nums }}
th:first-child, td:first-child {{ text-align: left }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{caption}</p>
<svg viewBox="0 0 {full_width:g} {full_height:g}" role="img" aria-label="Scores over time">
<g text-anchor="end">{labels}</g>
<g id="cells" transform="translate({left:g})">{cells}</g>
<g transform="translate({left:g})">{ticks}
<text x="{middle:g}" y="{axis_name:g}" text-anchor="middle">{axis}</text>
<rect id="mark" fill="none" stroke="#d62728" stroke-width="2" visibility="hidden"/>
<rect id="field" width="{width:g}" height="{height:g}" fill="transparent" stroke="#999"/>
</g>
</svg>
<div>score (0 to 1): 0 <span id="scale"></span> {top:.2f}</div>
<table>
<thead><tr><th>tag</th><th>mean score</th><th>highest</th><th>at</th></tr></thead>
<tbody>{rows}</tbody>
</table>
<div id="told"></div>
<script type="application/json" id="data">{data}</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent);
const [field, mark, told] = ["field", "mark", "told"].map(id => document.getElementById(id));
const time = seconds => {{
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const two = number => String(number).padStart(2, "0");
  return data.has_hours ? `${{h}}:${{two(m)}}:${{two(s)}}` : `${{m}}:${{two(s)}}`;
}};
field.addEventListener("pointermove", event => {{
  const box = field.getBoundingClientRect();
  const duration = data.edges[data.edges.length - 1];
  const seconds = (event.clientX - box.left) / box.width * duration;
  const n = data.tags.length;
  const row = Math.min(n - 1, Math.max(0, Math.floor((event.clientY - box.top) / box.height * n)));
  let clip = 0;
  while (clip < data.edges.length - 2 && data.edges[clip + 1] <= seconds) clip += 1;
  const [from, to] = [data.edges[clip], data.edges[clip + 1]];
  const score = data.scores[row][clip].toFixed(3);
  told.textContent = `${{data.tags[row]}}\\n${{time(from)}} to ${{time(to)}}\\nscore ${{score}}`;
  told.style.display = "block";
  told.style.left = `${{Math.min(event.clientX + 14, window.innerWidth - 190)}}px`;
  told.style.top = `${{event.clientY + 14}}px`;
  const shape = {{ x: from * {width:g} / duration, width: (to - from) * {width:g} / duration, y: row * {row:g}, \
height: {row:g}, visibility: "visible" }};
  for (const [name, value] of Object.entries(shape)) mark.setAttribute(name, value);
}});
field.addEventListener("pointerleave", () => {{
  told.style.display = "none";
  mark.setAttribute("visibility", "hidden");
}});
</script>
</body>
</html>
"""


def write_taggram_page(taggram: Taggram, file: IO[bytes], *, title: str, caption: str) -> None:
    """Write the scores of each tag over time as a page.

    Parameters
    ----------
    taggram
        What was heard; the first tag comes on top.
    file
        Where the page goes.
    title, caption
        Name the track, and who has listened and how; any text.
    """
    is_long = has_hours(taggram.duration_seconds)
    height = _ROW * len(taggram.tags)
    left = 10 + max(map(_measure, taggram.tags))
    page = _PAGE.format(
        title=escape(title),
        caption=escape(caption),
        colours=", ".join(COLOURS),
        labels=_draw_labels(taggram.tags, left),
        cells=_draw_cells(taggram),
        ticks=_draw_ticks(taggram.duration_seconds, height),
        rows=_list_rows(taggram),
        data=_describe(taggram),
        axis="time (hours:minutes:seconds)" if is_long else "time (minutes:seconds)",
        left=left,
        width=_WIDTH,
        middle=_WIDTH / 2,
        height=height,
        row=_ROW,
        axis_name=height + _FOOT - 6,
        full_width=left + _WIDTH + 30,  # half of the last tick's text
        full_height=height + _FOOT,
        top=find_top(taggram.scores),
    )
    file.write(page.encode("utf-8", errors="replace"))


def _draw_labels(tags: tuple[str, ...], left: float) -> str:
    return "".join(
        f'<text x="{left - 8:g}" y="{_ROW * (row + 0.7):g}">{escape(_shorten(tag))}</text>'
        for row, tag in enumerate(tags)
    )


def _draw_cells(taggram: Taggram) -> str:
    """Draw a path for each shade; neighbours of one shade are one rectangle."""
    places = taggram.edges_seconds * (_WIDTH / taggram.duration_seconds)
    shares = taggram.scores / find_top(taggram.scores)
    shades = np.minimum((shares * _N_SHADES).astype(int), _N_SHADES - 1)
    paths = defaultdict(list)
    for row, of_row in enumerate(shades.T):
        changes = np.flatnonzero(np.diff(of_row)) + 1
        bounds = [0, *changes.tolist(), len(of_row)]
        for first, end in pairwise(bounds):
            width = places[end] - places[first]
            path = f"M{places[first]:.2f} {row * _ROW}h{width:.2f}v{_ROW - 1}h-{width:.2f}z"
            paths[int(of_row[first])].append(path)
    return "\n".join(
        f'<path fill="{mix_colour((shade + 0.5) / _N_SHADES)}" d="{"".join(parts)}"/>'
        for shade, parts in sorted(paths.items())
    )


def _draw_ticks(duration_seconds: float, height: int) -> str:
    is_long = has_hours(duration_seconds)
    return "".join(
        f'<path stroke="#999" d="M{place:.2f} {height}v5"/>'
        f'<text x="{place:.2f}" y="{height + 18}" text-anchor="middle">{format_time(tick, has_hours=is_long)}</text>'
        for tick in list_ticks(duration_seconds)
        for place in [tick * _WIDTH / duration_seconds]
    )


def _list_rows(taggram: Taggram) -> str:
    is_long = has_hours(taggram.duration_seconds)
    rows = []
    for tag, mean, scores in zip(taggram.tags, taggram.means, taggram.scores.T, strict=True):
        best = int(scores.argmax())
        at = format_time(taggram.edges_seconds[best], has_hours=is_long)
        rows.append(f"<tr><td>{escape(tag)}</td><td>{mean:.3f}</td><td>{scores[best]:.3f}</td><td>{at}</td></tr>")
    return "\n".join(rows)


def _describe(taggram: Taggram) -> str:
    """Give the numbers for the script; nothing in them can end it."""
    data = {
        "tags": taggram.tags,
        "has_hours": has_hours(taggram.duration_seconds),
        "edges": np.round(taggram.edges_seconds, 3).tolist(),
        "scores": [[round(score, _DECIMALS) for score in scores] for scores in taggram.scores.T.tolist()],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _measure(tag: str) -> float:
    """Give the width of a tag beside its row."""
    return sum(_WIDE_LETTER if east_asian_width(letter) in "WF" else _LETTER for letter in _shorten(tag))


def _shorten(tag: str) -> str:
    return tag if len(tag) <= _MOST_LETTERS else tag[: _MOST_LETTERS - 1] + "…"
