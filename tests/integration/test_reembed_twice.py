"""Two runs of a re-embedding at once: the later one goes on, the earlier one says so, and no client's write is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from backends import SERVER_BY_NIGHT
from changing_models import DEFINITION, check_vectors, encoder_of, hashes, new_encoder, old_encoder
from pictures import picture

import imgvec
from imgvec import ImageCollection
from imgvec.errors import CollectionReplaced
from imgvec.progress import Progress
from imgvec.verbs import reembedding
from imgvec.verbs.succeeding import Moving

NAMES = pytest.mark.parametrize("name", ["live", "photos"], ids=["alias", "own name"])


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.loading.loaded_encoder", encoder_of)
    monkeypatch.setattr(reembedding, "HOLD_SECONDS", 0.0)


@pytest.fixture
def photos(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    with ImageCollection.create("photos", definition=DEFINITION, uri=backend_uri, encoder=old_encoder()) as photos:
        photos.ingest(pictures)
        imgvec.set_alias(photos, "live")
        yield photos
        connection = photos.handle.connection
        for alias in connection.aliases():
            connection.link.client.drop_alias(alias)


def once(call: Callable[[], Any]) -> Callable[..., None]:
    """Calls it the first time that this is called."""
    left = [call]

    def called(*_: Any) -> None:
        if left:
            left.pop()()

    return called


@SERVER_BY_NIGHT
@NAMES
def test_the_later_one_goes_on_and_the_earlier_one_is_told(
    backend_uri: str, photos: ImageCollection, pictures: Path, name: str
) -> None:
    with ImageCollection.open(name, uri=backend_uri) as own, ImageCollection.open(name, uri=backend_uri) as other:

        def second() -> None:
            done = imgvec.reembed(other, new_encoder())
            assert (done.swapped, done.rows) == (True, 20)
            # a client writes to the new one: the first run knows nothing of that, and must not take it for gone
            picture(70).save(pictures / "client.jpg")
            other.ingest(pictures)
            other.delete(sorted(hashes(other))[:1])

        began: Callable[[Progress], None] = once(second)
        with pytest.raises(CollectionReplaced, match=r"another run|leads to 'photos_2|leads to 'live_2") as told:
            imgvec.reembed(own, new_encoder(), on_progress=began)
        assert "start again" in str(told.value) or "leave it to that one" in str(told.value)
        assert (other.count(), check_vectors(other, new_encoder())) == (20, 20)
        # both handles, and one that is opened now, are at the same
        with ImageCollection.open(name, uri=backend_uri) as now:
            assert now.name == own.pinned().name == other.name
        assert imgvec.finish_reembedding(other)


@NAMES
def test_two_that_are_about_to_swap(lite_uri: str, pictures: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=old_encoder()) as photos:
        photos.ingest(pictures)
        imgvec.set_alias(photos, "live")
    swap = Moving.swap
    with ImageCollection.open(name, uri=lite_uri) as own, ImageCollection.open(name, uri=lite_uri) as other:
        first = once(lambda: imgvec.reembed(other, new_encoder()))

        def late(moving: Moving) -> None:
            first()
            swap(moving)

        monkeypatch.setattr(Moving, "swap", late)
        with pytest.raises(CollectionReplaced):
            imgvec.reembed(own, new_encoder())
        assert other.count() == check_vectors(other, new_encoder()) == 20
        again = imgvec.reembed(own, new_encoder())
        assert (again.swapped, again.encoded, again.target) == (True, 0, other.name)
        assert imgvec.rollback_reembedding(own).swapped


def test_to_another_model_that_was_faster(lite_uri: str, pictures: Path) -> None:
    """It would take the name from the other's new collection, with what clients have written there since."""
    with ImageCollection.create("photos", definition=DEFINITION, uri=lite_uri, encoder=old_encoder()) as photos:
        photos.ingest(pictures)
        imgvec.set_alias(photos, "live")
    with ImageCollection.open("live", uri=lite_uri) as own, ImageCollection.open("live", uri=lite_uri) as other:
        faster = once(lambda: imgvec.reembed(other, new_encoder(24)))
        with pytest.raises(CollectionReplaced, match="'live' leads to 'live_3' by now"):
            imgvec.reembed(own, new_encoder(), on_progress=faster)
        assert other.binding.dim == own.pinned().binding.dim == 24
        assert imgvec.reembed(own, new_encoder()).swapped
        assert check_vectors(other.pinned(), new_encoder()) == 20


@pytest.mark.nightly
@pytest.mark.server
def test_two_processes_at_once(server_uri: str, pictures: Path) -> None:
    here = Path(__file__).parent
    script = here / "faults" / "reembed_killer.py"
    paths = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options["env"] = {**os.environ, "PYTHONPATH": paths}
    for turn in range(5):
        with ImageCollection.create("photos", definition=DEFINITION, uri=server_uri, encoder=old_encoder()) as photos:
            photos.ingest(pictures)
            imgvec.set_alias(photos, "live")
        command = [sys.executable, str(script), server_uri, "live", "nothing"]
        both = [subprocess.Popen(command, **options) for _ in range(2)]
        said = [each.communicate(timeout=300) for each in both]
        codes = [each.returncode for each in both]
        print(f"turn {turn}: {codes}", flush=True)
        assert 0 in codes, said
        for code, (_, error) in zip(codes, said, strict=True):
            assert code == 0 or "CollectionReplaced: " in error.splitlines()[-1], error
        with ImageCollection.open("live", uri=server_uri) as live:
            assert live.count() == check_vectors(live, new_encoder()) == 20
            imgvec.finish_reembedding(live)
            link = live.handle.connection.link
            link.client.drop_alias("live")
            for each in live.handle.connection.collections():
                link.client.drop_collection(each)
