"""Words and phrases in text, as the documentation of Milvus writes them, and where they are refused."""

from __future__ import annotations

import re

import pytest

from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import FieldType, Filter, field, render
from imgvec.milvus.capabilities import capabilities

FIELDS = {
    "id": FieldType("VARCHAR"),
    "text": FieldType("VARCHAR", match=True),
    "maybe": FieldType("VARCHAR", match=True, nullable=True),
    "plain": FieldType("VARCHAR"),
    "n": FieldType("INT64"),
    "tags": FieldType("ARRAY", element="VARCHAR"),
}
TEXT = field("text")


def rendered(where: Filter, version: str = "v2.6.24") -> str:
    return render(where, FIELDS, dynamic=True, dialect=capabilities(version).dialect)


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        # https://milvus.io/docs/keyword-match.md
        (TEXT.has_any_word("machine deep"), "TEXT_MATCH(text, 'machine deep')"),
        (TEXT.has_all_words("machine deep"), "(TEXT_MATCH(text, 'machine') and TEXT_MATCH(text, 'deep'))"),
        (
            ~TEXT.has_any_word("deep") & TEXT.has_any_word("machine") & TEXT.has_any_word("learning"),
            "not TEXT_MATCH(text, 'deep') and TEXT_MATCH(text, 'machine') and TEXT_MATCH(text, 'learning')",
        ),
        # https://milvus.io/docs/phrase-match.md
        (TEXT.has_phrase("machine learning"), "PHRASE_MATCH(text, 'machine learning')"),
        (TEXT.has_phrase("learning machine", slop=1), "PHRASE_MATCH(text, 'learning machine', 1)"),
    ],
)
def test_it_is_what_the_documentation_shows(where: Filter, expression: str) -> None:
    """But for the case of the functions and the kind of quotes, neither of which counts there."""
    lowered = re.sub("TEXT_MATCH|PHRASE_MATCH", lambda found: found[0].lower(), expression)
    assert rendered(where) == lowered.replace("'", '"')


def test_where_there_is_no_text_neither_it_nor_its_negation_holds() -> None:
    assert rendered(~field("maybe").has_any_word("a")) == '(maybe is not null and not text_match(maybe, "a"))'
    assert rendered(~field("maybe").has_all_words("a b")) == (
        '(maybe is not null and not (text_match(maybe, "a") and text_match(maybe, "b")))'
    )


def test_each_word_stands_by_itself_as_milvus_cuts_them() -> None:
    assert rendered(TEXT.has_all_words("T-shirt & été")) == (
        '(text_match(text, "T") and text_match(text, "shirt") and text_match(text, "été"))'
    )
    assert rendered(TEXT.has_all_words(" हिन्दी!")) == 'text_match(text, "हिन्दी")'


def test_what_has_no_letter_or_digit_finds_nothing_and_is_refused() -> None:
    for method in (TEXT.has_any_word, TEXT.has_all_words, TEXT.has_phrase):
        with pytest.raises(FilterError, match=r"takes words, not '& -'"):
            method("& -")


def test_quotes_and_backslashes_are_text() -> None:
    assert rendered(TEXT.has_any_word('say "a\\b"')) == r'text_match(text, "say \"a\\b\"")'


@pytest.mark.parametrize(
    ("where", "version", "message"),
    [
        (TEXT.has_any_word("a"), "v2.3.5", "Milvus 2.3.5 has no text_match .*, which Milvus has from 2.5$"),
        (TEXT.has_phrase("a b"), "v2.3.5", "has no phrase_match .*, which Milvus has from 2.5.17$"),
        (TEXT.has_phrase("a b"), "v2.5.16", "has no phrase_match .*, which Milvus has from 2.5.17$"),
        (TEXT.has_phrase("a b"), "milvus_lite-3.2.2", "Milvus Lite 3.2.2 has no phrase_match"),
    ],
)
def test_a_backend_that_lacks_it_is_told_which_release_has_it(where: Filter, version: str, message: str) -> None:
    with pytest.raises(UnsupportedByBackend, match=message):
        rendered(where, version)


def test_a_raw_function_that_is_lacking_names_the_release_too() -> None:
    for text, since in (("phrase_match(text, 'a b')", "2.5.17"), ("st_within(text, 'POINT (1 1)')", "2.6.4")):
        with pytest.raises(UnsupportedByBackend, match=rf"\(column 1\), which Milvus has from {since}$"):
            render(text, FIELDS, dynamic=True, dialect=capabilities("v2.3.5").dialect)


@pytest.mark.parametrize("version", ["milvus_lite-3.2.2", "v2.5.0"])
def test_words_are_there_on_lite_and_from_2_5(version: str) -> None:
    assert rendered(TEXT.has_any_word("a"), version) == 'text_match(text, "a")'


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (field("plain").has_any_word("a"), r"field\('plain'\): .* declared with match: true"),
        (field("n").has_any_word("a"), "holds INT64, but a search for words needs a field of text"),
        (field("tags")[0].has_phrase("a"), "a search for words needs a field of text"),
    ],
)
def test_a_field_that_is_not_searched_for_words(where: Filter, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        rendered(where)


def test_what_is_no_word_is_refused_when_it_is_written() -> None:
    for text in ("", "  ", 5):
        for method in (TEXT.has_any_word, TEXT.has_all_words, TEXT.has_phrase):
            with pytest.raises(FilterError, match="takes words"):
                method(text)  # type: ignore[arg-type]  # what it refuses
    for slop in (-1, 1.5, True):
        with pytest.raises(FilterError, match="slop is a number of places from 0"):
            TEXT.has_phrase("a b", slop=slop)  # type: ignore[arg-type]  # what it refuses
    assert repr(TEXT.has_all_words("a b")) == "field('text').has_all_words('a b')"
    assert repr(TEXT.has_phrase("a b", slop=2)) == "field('text').has_phrase('a b', slop=2)"
