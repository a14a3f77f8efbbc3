"""Engines are strategies of one signature; the local one brings in what came before a source broke off."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture

from imgvec.definition import Definition
from imgvec.engines import LocalEngine, RayEngine
from imgvec.errors import OptionError, SourceError, UsageError
from imgvec.ingest import Engine, Job, Resources
from imgvec.sources import Source
from imgvec.sources.records import Found, Record


def job(store: FakeStore, source: Source, broken: Exception | None = None) -> Job:
    def records() -> Iterator[Found]:
        yield from source
        if broken is not None:
            raise broken

    resources = Resources(threads=2, max_pixels=10**7, max_bytes=10**7)
    return Job(records, Definition.load("photos").row_fields, resources, store, {"vector": FakeEncoder})


@pytest.mark.parametrize("engine", [LocalEngine(), RayEngine()])
def test_they_share_one_signature(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert inspect.signature(type(engine).ingest) == inspect.signature(Engine.ingest)


def test_the_local_engine_reports_and_checks_its_options(pictures: Path, store: FakeStore) -> None:
    seen: list[int] = []
    work = job(store, Source(pictures))
    report = LocalEngine().ingest(work, on_progress=lambda event: seen.append(event.counts["seen"]))
    assert (report.written, len(store.rows), seen[-1]) == (20, 20, 20)
    with pytest.raises(OptionError, match="strict"):
        LocalEngine().ingest(job(store, Source(pictures)), strict="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean 'errors'"):
        LocalEngine().ingest(job(store, Source(pictures)), error="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("broken", [SourceError("it broke off"), UsageError("it broke off"), KeyError("it broke off")])
def test_what_came_before_a_break_is_written(pictures: Path, store: FakeStore, broken: Exception) -> None:
    """A source may be the caller's own generator, which raises what it likes."""
    with pytest.raises(type(broken), match="it broke off"):
        LocalEngine().ingest(job(store, Source(pictures), broken))
    assert len(store.rows) == 20


def test_a_reader_of_one_s_own_that_fails_costs_its_image(store: FakeStore) -> None:
    class Broken:
        def read(self, max_bytes: int) -> bytes:
            raise TimeoutError("the camera is off")

    data = io.BytesIO()
    picture(1).save(data, "PNG")
    source = Source([Record("a", "camera/1", Broken(), {}), ("b", data.getvalue())])
    report = LocalEngine().ingest(job(store, source))
    assert (report.written, report.refused) == (1, {"read failed": 1})
