"""Pictures in batches for the encoder, decoded while it works."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture

from imgvec import Crop, ImageBytes, ImageFile, Pixels, StoredId
from imgvec.encoders.protocol import Pixels as Prepared
from imgvec.encoders.protocol import TakesPrepared
from imgvec.errors import ImgvecError, UnreadableImage
from imgvec.search import batches
from imgvec.search.batches import encoded
from imgvec.search.encoding import FormEncoder
from imgvec.search.failing import Noting
from imgvec.search.forms import Form
from imgvec.search.stages import Stages
from imgvec.vectors import Vectors


class PreparedEncoder(FakeEncoder):
    """Also takes what was prepared; `asked` are the sizes of its batches."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked: list[int] = []

    def encode_prepared(self, prepared: Sequence[Prepared]) -> Vectors:
        self.asked.append(len(prepared))
        return self.encode(np.stack(prepared))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02}.png" for number in range(20)]
    for number, path in enumerate(paths):
        picture(number).save(path)
    return paths


def vectors(encoder: FakeEncoder, forms: Sequence[Form], failed: dict[int, ImgvecError] | None = None) -> Vectors:
    made = FormEncoder(FakeStore(), lambda _: encoder, max_pixels=10**7, max_bytes=10**7, threads=2)
    return made.vectors(forms, Stages(), failed=failed)[0]


def test_the_first_batch_of_files_is_small_and_the_others_are_the_encoders_own(files: list[Path]) -> None:
    encoder, plain = PreparedEncoder(batch_size=8), FakeEncoder(batch_size=8)
    assert isinstance(encoder, TakesPrepared)
    assert not isinstance(plain, TakesPrepared)
    forms = [ImageFile(path) for path in files]
    found = vectors(encoder, forms)
    assert encoder.asked == [2, 8, 8, 2]
    np.testing.assert_array_equal(found, vectors(plain, forms))
    np.testing.assert_array_equal(found, plain.encode_images([picture(number) for number in range(20)]))


def test_batches_grow_when_the_encoder_s_do(files: list[Path]) -> None:
    """As many pictures as that are decoded ahead, too."""
    seen, ahead = list[Form](), list[int]()

    class Growing(PreparedEncoder):
        def encode_prepared(self, prepared: Sequence[Prepared]) -> Vectors:
            ahead.append(len(seen))
            self.batch_size = 8
            return super().encode_prepared(prepared)

    def open_(form: Form) -> Any:
        assert isinstance(form, StoredId)  # opened by who asks, when its turn has come
        return picture(int(form.id))

    def counted(forms: dict[int, Form]) -> Any:
        class Counting(dict[int, Form]):
            def items(self) -> Any:
                for number, form in super().items():
                    seen.append(form)
                    yield number, form

        return Counting(forms)

    encoder = Growing(batch_size=4)
    forms = counted({number: StoredId(str(number)) for number in range(20)})
    found = list(encoded(forms, open_, encoder, Stages(), Noting(None, range(20)), threads=2))
    assert encoder.asked == [1, 8, 8, 3]
    assert ahead == [1 + 4, 9 + 8, 20, 20]
    assert [number for numbers, _ in found for number in numbers] == list(range(20))


def test_pictures_in_memory_go_in_the_same_batches() -> None:
    encoder, image = PreparedEncoder(batch_size=8), picture(1)
    found = vectors(encoder, [Pixels(image)] * 12)
    assert encoder.asked == [2, 8, 2]
    np.testing.assert_array_equal(found, np.repeat(encoder.encode_images([image]), 12, axis=0))


def test_who_opens_what() -> None:
    """Files any thread, an image in memory no two at a time, a stored picture who asks."""
    where, inside, at_once = dict[str, set[str]](), list[Form](), list[int]()

    def open_(form: Form) -> Any:
        origin = form.form if isinstance(form, Crop) else form
        where.setdefault(type(origin).__name__, set()).add(threading.current_thread().name)
        if isinstance(origin, Pixels):
            inside.append(form)
            both.wait(0.01)  # another thread, if one came, would be seen
            at_once.append(len(inside))
            inside.pop()
        return picture(1)

    both, box = threading.Event(), (0, 0, 2, 2)
    kinds: list[Form] = [
        Pixels(picture(1)),
        Crop(Pixels(picture(1)), box),
        ImageFile(Path("a")),
        Crop(Crop(ImageBytes(b"a"), box), box),
        Crop(StoredId("a"), box),
    ]
    forms = dict(enumerate(kinds * 4))
    encoder = PreparedEncoder(batch_size=8)
    assert (
        sum(len(some) for some, _ in encoded(forms, open_, encoder, Stages(), Noting(None, range(20)), threads=4)) == 20
    )
    assert at_once == [1] * 8
    mine = threading.current_thread().name
    assert where.pop("StoredId") == {mine}
    assert mine not in set().union(*where.values())
    # a single one needs no thread
    list(encoded({0: kinds[2]}, open_, encoder, Stages(), Noting(None, [0]), threads=4))
    assert mine in where["ImageFile"]


def test_files_are_decoded_while_the_batch_before_is_encoded(files: list[Path]) -> None:
    """The encoder ends no batch but the last before a picture of the next one was opened."""
    later, opened = threading.Event(), list[str]()

    class Waiting(PreparedEncoder):
        def encode_prepared(self, prepared: Sequence[Prepared]) -> Vectors:
            assert later.wait(30)
            return super().encode_prepared(prepared)

    encoder, made = Waiting(batch_size=8), {str(path): number for number, path in enumerate(files)}

    def open_(form: Form) -> Any:
        assert isinstance(form, ImageFile)
        opened.append(str(form.path))
        if len(opened) > 2:  # the first batch has two
            later.set()
        return picture(made[str(form.path)])

    forms: dict[int, Form] = {number: ImageFile(path) for number, path in enumerate(files)}
    found = list(encoded(forms, open_, encoder, Stages(), Noting(None, range(20)), threads=2))
    assert [numbers for numbers, _ in found] == [[0, 1], [*range(2, 10)], [*range(10, 18)], [18, 19]]
    assert sorted(opened) == [str(path) for path in files]


def test_what_cannot_be_read_is_told_and_the_others_go_on(files: list[Path]) -> None:
    files[3].write_bytes(b"not an image")
    forms: list[Form] = [ImageFile(path) for path in files]
    encoder, failed = PreparedEncoder(batch_size=8), dict[int, ImgvecError]()
    found = vectors(encoder, forms, failed)
    assert list(failed) == [3]
    assert isinstance(failed[3], UnreadableImage)
    kept = [picture(number) for number in range(20) if number != 3]
    np.testing.assert_array_equal(found, encoder.encode_images(kept))
    with pytest.raises(UnreadableImage):
        vectors(encoder, forms)


def test_nothing_is_decoded_after_an_error(files: list[Path]) -> None:
    class Broken(PreparedEncoder):
        def encode_prepared(self, prepared: Sequence[Prepared]) -> Vectors:
            raise MemoryError

    seen = list[Form]()
    release = threading.Event()

    def open_(form: Form) -> Any:
        seen.append(form)
        if len(seen) > 2:
            assert release.wait(30)
        return picture(1)

    forms: dict[int, Form] = {number: ImageBytes(b"x", str(number)) for number in range(20)}
    coming = encoded(forms, open_, Broken(batch_size=8), Stages(), Noting(None, range(20)), threads=2)
    threading.Timer(0.2, release.set).start()
    with pytest.raises(MemoryError):
        next(coming)
    assert len(seen) <= 4  # the two that were under way
    assert not [each for each in threading.enumerate() if each.name.startswith("imgvec-decode")]


def test_only_so_many_wait_in_their_own_size(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that prepares by itself holds decoded pictures: no more than a few for each thread are ahead."""
    monkeypatch.setattr(batches, "_WAITING", 1)
    opened, most = list[Form](), list[int]()

    class Counting(FakeEncoder):
        def encode_images(self, images: Sequence[Any]) -> Vectors:
            most.append(len(opened) - sum(asked) - len(images))
            asked.append(len(images))
            return super().encode_images(images)

    asked = list[int]()

    def open_(form: Form) -> Any:
        opened.append(form)
        return picture(1)

    forms: dict[int, Form] = {number: ImageFile(path) for number, path in enumerate(files)}
    list(encoded(forms, open_, Counting(batch_size=8), Stages(), Noting(None, range(20)), threads=2))
    assert asked == [2, 8, 8, 2]
    assert max(most) <= 2
