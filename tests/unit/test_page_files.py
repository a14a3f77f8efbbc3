"""The files of the page that `imgvec serve` shows: what they may not hold, and that they are all there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "imgvec" / "serving" / "page"
FILES = sorted(PAGE.iterdir())
TEXT = {each.name: each.read_text(encoding="utf-8") for each in FILES}

FORBIDDEN = {
    "what is stored is text": (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc"
    ),
    "no code is made of text": r"\beval\(|new Function|setTimeout\(\s*['\"`]|javascript:",
    "the policy forbids attributes of style and scripts": r"\sstyle=|setAttribute\(\s*['\"]style|\son[a-z]+=\"",
    "a token is never part of an address": r"[?&]token=|localStorage|document\.cookie",
    "no other host is asked": r"(?<![\w.])(https?:)?//(?!www\.w3\.org/2000/svg)[a-z][\w-]*\.[a-z]",
}


@pytest.mark.parametrize("why", FORBIDDEN)
def test_what_the_page_never_does(why: str) -> None:
    found = {name: re.search(FORBIDDEN[why], text) for name, text in TEXT.items()}
    assert {name: match[0] for name, match in found.items() if match} == {}


@pytest.mark.parametrize("why", FORBIDDEN)
def test_that_would_be_found(why: str) -> None:
    examples = {
        "what is stored is text": "root.innerHTML = hit.uri",
        "no code is made of text": 'eval("1")',
        "the policy forbids attributes of style and scripts": '<p style="color:red">',
        "a token is never part of an address": "fetch(`/v1?token=${token}`)",
        "no other host is asked": 'import "https://cdn.example.org/x.js"',
    }
    assert re.search(FORBIDDEN[why], examples[why])


def test_what_is_named_is_there() -> None:
    named = set()
    for text in TEXT.values():
        named |= set(re.findall(r'(?:from|import) "\./([\w.]+)"', text))
        named |= set(re.findall(r"/page/([\w.]+)", text)) - {"NAME"}
    assert named <= TEXT.keys()
    assert named | {"index.html"} == TEXT.keys()  # and nothing else


def test_files_are_short() -> None:
    assert {name: len(text.splitlines()) for name, text in TEXT.items() if len(text.splitlines()) > 300} == {}
