"""An explanation as HTML."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from imgvec.explanation import drawing

if TYPE_CHECKING:
    from imgvec.explanation.explanation import Explanation

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;
padding:0 1rem}}img{{max-width:100%;height:auto}}figure{{margin:0}}td,th{{padding:.1rem 1rem .1rem 0;text-align:left}}
figcaption,p{{overflow-wrap:anywhere}}</style>
<h1>{title}</h1>
{figure}
{pairs}
</html>
"""


def html(explanation: Explanation) -> str:
    """The whole page; whatever a name holds is text in it."""
    chosen = drawing.spread(explanation)
    rows = "".join(
        f"<tr><td>{number + 1}<td>{explanation.similarities[place]:.3f}</tr>" for number, place in enumerate(chosen)
    )
    pairs = f"<table><tr><th>patches<th>similarity</tr>{rows}</table>" if rows else ""
    title = f"Why {escape(_last(explanation.hit.name))} is like {escape(_last(explanation.query.name))}"
    return _PAGE.format(title=title, figure=figure(explanation), pairs=pairs)


def figure(explanation: Explanation) -> str:
    """The picture with what there is to say, for a notebook."""
    data = io.BytesIO()
    explanation.image().save(data, "PNG")
    source = base64.b64encode(data.getvalue()).decode("ascii")
    said = escape(f"{explanation.query.name} and {explanation.hit.name}: {sentence(explanation)}")
    return (
        f'<figure><img alt="both pictures; where they show the same is warm" src="data:image/png;base64,{source}">'
        f"<figcaption>{said}</figcaption></figure>"
    )


def sentence(explanation: Explanation) -> str:
    """The score, and what the colours mean."""
    mirrored = "; the hit fits better as its mirror image" if explanation.mirrored else ""
    if explanation.method == "tokens":
        warm = f"warm where both show the same, with numbers on the best of {len(explanation.pairs):,} pairs of patches"
    else:
        warm = "warm where the score falls most without that region"
    return f"score {explanation.score:.4f}{mirrored}; {warm}; dark where the encoder does not look"


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name
