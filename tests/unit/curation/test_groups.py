from __future__ import annotations

import pytest

from imgvec.curation.choosing import preferred
from imgvec.curation.groups import Edge, grouped
from imgvec.curation.judging import Relation
from imgvec.curation.subjects import Subject


def subject(id_: str, width: int = 400, **more: object) -> Subject:
    given = {"media_type": "image/jpeg", "ingested_at": 1, **more}
    return Subject(id_, f"{id_}.jpg", f"hash {id_}", width, 300, **given)  # type: ignore[arg-type]  # a few of several


def copy(first: str, second: str, **more: object) -> Edge:
    return Edge(first, second, Relation("copy", **more))  # type: ignore[arg-type]  # as above


ALL = {id_: subject(id_) for id_ in "abcdef"}


def ids(edges: list[Edge], compare: object = None) -> list[list[str]]:
    return [[each.id for each in group.subjects] for group in grouped(edges, ALL, compare)]  # type: ignore[arg-type]


def test_a_chain_of_copies_is_not_one_group() -> None:
    """b is a copy of a, c of b, d of c: nobody has compared a with c."""
    found = ids([copy("a", "b"), copy("b", "c"), copy("c", "d")])
    assert sorted(map(sorted, found)) == [["a", "b"], ["c", "d"]]


def test_whoever_hangs_on_another_is_looked_at_with_the_best() -> None:
    looked: list[tuple[str, str]] = []

    def compare(best: Subject, other: Subject) -> Relation | None:
        looked.append((best.id, other.id))
        return Relation("copy") if other.id == "c" else None

    found = ids([copy("a", "b"), copy("b", "c"), copy("c", "d")], compare)
    assert found == [["a", "b", "c"]]
    assert looked == [("a", "c"), ("a", "d")]


def test_equal_files_and_pixels_do_chain() -> None:
    edges = [Edge("a", "b", Relation("file")), Edge("b", "c", Relation("pixels")), Edge("c", "d", Relation("file"))]
    assert ids(edges) == [["a", "b", "d", "c"]] or ids(edges) == [["a", "b", "c", "d"]]
    # and a copy of one is a copy of all
    [group] = grouped([*edges, copy("d", "e", scale=0.5)], ALL)
    assert sorted(each.id for each in group.subjects) == ["a", "b", "c", "d", "e"]
    assert group.kind == "copy"
    assert {each.subject.id: each.kind for each in group.others}["e"] == "copy"


def test_of_equals_the_way_round_that_most_are() -> None:
    edges = [copy(a, b, mirrored=a == "a") for a, b in ("ab", "ac", "bc")]
    [group] = grouped(edges, ALL)
    assert group.best.id == "b"


def test_only_the_best_copy_takes_part_in_a_burst() -> None:
    edges = [copy("a", "b", scale=0.5), Edge("a", "c", Relation("burst")), Edge("b", "c", Relation("burst"))]
    found = grouped(edges, ALL)
    assert sorted((each.kind, sorted(one.id for one in each.subjects)) for each in found) == [
        ("burst", ["a", "c"]),
        ("copy", ["a", "b"]),
    ]


def test_what_is_gone_is_in_no_group() -> None:
    assert grouped([copy("a", "gone")], ALL) == []


@pytest.mark.parametrize(
    ("relation", "first", "second", "why"),
    [
        (Relation("copy", first_share=0.64), {}, {}, "shows more of the picture"),
        (Relation("copy", second_share=0.7, framed="second"), {}, {"width": 900}, "without the frame"),
        (Relation("copy", scale=0.16), {}, {"width": 64}, "finer: 400 x 300 instead of 64 x 300 pixels"),
        (Relation("copy", colours=(True, False)), {}, {}, "in colour"),
        (Relation("copy"), {"media_type": "image/png"}, {}, "png loses nothing"),
        (Relation("copy", sharper=0.5), {}, {}, "sharper"),
        (Relation("burst", sharper=0.5, scale=1.2), {}, {}, "sharper"),
        (Relation("file"), {"taken_at": 5}, {}, "its date is known"),
        (Relation("file"), {"taken_at": 5}, {"taken_at": 9}, "taken first, 1970-01-01T00:00:00.005Z"),
        (Relation("file"), {}, {"ingested_at": 9}, "ingested first, 1970-01-01T00:00:00.001Z"),
        (Relation("file"), {"fields": {"album": "cats"}}, {"fields": {"album": ""}}, "more fields filled: 1"),
        (Relation("file"), {}, {}, "no better, but the first by id"),
    ],
)
def test_the_better_one_and_why(relation: Relation, first: dict[str, int], second: dict[str, int], why: str) -> None:
    one, other = subject("a", **first), subject("b", **second)
    assert preferred(one, other, relation) == (True, (why,))
    assert preferred(other, one, relation.turned()) == (False, (why,))
