"""What the name of a picture's file says, as words."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote, urlsplit

from imgvec.sources.registry import split_member

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_JOINERS = "\u200c\u200d"
_HASH = re.compile(r"[0-9a-fA-F]{16,}")


def name_words(uri: str) -> str:
    """The words of the last part of a uri, in NFC: `/a/redDress_01.jpg` is `red Dress 01`.

    Everything but letters with their marks, digits and apostrophes becomes a space, and so does the seam of camelCase.
    Empty for a name that is a hash or a UUID, as of pictures that are kept by their content, and for the number of a
    table's row.
    """
    member = split_member(uri)
    path = uri if member is None else member[1]
    if member is None and uri.partition("://")[0] in ("http", "https", "given"):
        path = unquote(urlsplit(uri).path if uri.startswith("http") else uri.partition("://")[2])
    name = path.rstrip("/").rpartition("/")[2]
    stem = _ENDING.sub("", name)
    if _HASH.fullmatch(stem.replace("-", "")) or (member is not None and name.isdigit()):
        return ""
    text = unicodedata.normalize("NFC", stem)
    made = []
    for before, here, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if here.isupper() and (before.islower() or (before.isupper() and after.islower())):
            made.append(" ")
        # a letter's: most vowels of Hindi, Tamil and Thai are marks, and joiners shape words of Persian
        belongs = bool(made) and made[-1] != " " and (unicodedata.category(here)[0] == "M" or here in _JOINERS)
        made.append(here if here.isalnum() or here in "'’" or belongs else " ")
    return " ".join("".join(made).split())
