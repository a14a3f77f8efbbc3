"""`photos.facets`: what a search's facets count, without a search, and awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEncoder

from imgvec import AsyncImageCollection, ImageCollection, field
from imgvec.errors import FilterError, OptionError, QueryError
from imgvec.search import facets


@pytest.fixture(params=[None, {"grid": 2}], ids=["whole", "views"])
def photos(request: pytest.FixtureRequest, backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    about = {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}}
    definition = {"encoder": {"model": "fake"}, "fields": about, "dynamic": False, "views": request.param}
    with ImageCollection.create("counted", definition=definition, uri=backend_uri, encoder=FakeEncoder()) as collection:
        named = {str(path): {"album": path.parent.name} for path in pictures.rglob("*.jpg")}
        collection.ingest(pictures, metadata=named)
        yield collection


def test_they_are_those_of_a_search(photos: ImageCollection, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = field("width") >= 1
    searched = photos.search(next(pictures.rglob("*.jpg")), where=where, facet=["album", "width"]).facets
    found = photos.facets(["album", "width"], where)
    assert found == searched
    assert sum(found["album"].counts.values()) == 20, "of views, pictures are counted"
    assert photos.facets(["album"], "width < 0")["album"].counts == {}

    async def awaited() -> object:
        return await AsyncImageCollection(photos).facets(["album", "width"], where)

    assert asyncio.run(awaited()) == found
    for wrong, error in ((["colour"], OptionError), ("album", OptionError)):
        with pytest.raises(error):
            photos.facets(wrong)
    with pytest.raises(FilterError):
        photos.facets(["album"], "widht > 1")
    monkeypatch.setattr(facets, "MOST_COUNTED", 19)
    with pytest.raises(QueryError, match="narrow the filter"):
        photos.facets(["album"])


def test_a_name_that_no_row_has_is_not_counted_as_missing(lite_uri: str, pictures: Path) -> None:
    """A dynamic field takes any name."""
    with ImageCollection.create(
        "named", definition={"encoder": {"model": "fake"}}, uri=lite_uri, encoder=FakeEncoder()
    ) as photos:
        files = sorted(pictures.rglob("*.jpg"))
        photos.ingest(files, metadata={str(files[0]): {"album": "cats"}})
        assert photos.facets(["album"])["album"].counts == {None: 19, "cats": 1}
        with pytest.raises(QueryError, match="no matching row has a field 'widht', did you mean 'width'"):
            photos.facets(["widht"])
        assert photos.facets(["widht"], "width < 0")["widht"].total == 0
