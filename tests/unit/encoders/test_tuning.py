"""Choosing how a model runs: what is picked, what is remembered, and that no vector depends on it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY, picture

from imgvec.abandoned import Abandoned, Call, of_call
from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, huggingface, load_encoder, passes, turns
from imgvec.encoders.attention import PRODUCTS
from imgvec.encoders.huggingface import STREAM_TURNS
from imgvec.encoders.passes import TunedPasses
from imgvec.encoders.streams import Streams
from imgvec.encoders.tuning import Memory, Tuning, fastest

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]
IMAGES = [picture(seed, (40 + seed, 50)) for seed in range(11)]
STREAMS = Tuning(PRODUCTS, batch_size=3, streams=2, rate=50.0)


@pytest.fixture
def encoder(checkpoints: Checkpoints, tmp_path: Path) -> HuggingFaceEncoder:
    return load_encoder(EncoderSpec(str(checkpoints("vit"))), device="cpu", dtype="fp32", cache_dir=tmp_path)


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("passes", "tuning", "streams"):
        monkeypatch.setattr(f"imgvec.encoders.{module}.processors", lambda: 2)


def remember(encoder: HuggingFaceEncoder, tuning: Tuning) -> None:
    Memory(encoder._cache_dir, encoder.binding.fingerprint, encoder.device, encoder.dtype).keep(tuning)


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", TINY)
def test_no_vector_depends_on_the_tuning(family: str, checkpoints: Checkpoints, tmp_path: Path) -> None:
    encoder = load_encoder(EncoderSpec(str(checkpoints(family))), device="cpu", dtype="fp32", cache_dir=tmp_path)
    expected = encoder.encode_images(IMAGES)
    tuning = encoder.prepare_for(5000)
    assert tuning is not None
    assert tuning.rate > 0
    turns = STREAM_TURNS if tuning.streams > 1 else 1
    assert encoder.batch_size == tuning.batch_size * tuning.streams * turns
    close(encoder.encode_images(IMAGES), expected)


@pytest.mark.parametrize("attention", [PRODUCTS, "sdpa", "eager"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, 7, 11])
def test_passes_side_by_side_keep_the_order(encoder: HuggingFaceEncoder, attention: str, count: int) -> None:
    expected = encoder.encode_images(IMAGES[:count])
    remember(encoder, Tuning(attention, batch_size=3, streams=2, rate=50.0))
    tuning = encoder.prepare_for(10)
    assert tuning is not None
    assert encoder._tuned is not None
    assert encoder._tuned.readout.vision.config._attn_implementation == attention
    close(encoder.encode_images(IMAGES[:count]), expected)
    pixels = [encoder.prepare(image) for image in IMAGES[:count]]
    if pixels:  # more at once than the tuning's batch
        encoder.batch_size = 100
        close(encoder.encode(np.stack(pixels)), expected)


def test_batches_are_encoded_in_short_passes_while_queries_come(encoder: HuggingFaceEncoder) -> None:
    expected = encoder.encode_images(IMAGES)
    remember(encoder, STREAMS)
    encoder.prepare_for(10)
    pixels = np.stack([encoder.prepare(image) for image in IMAGES])

    def passes_of(batch: Any) -> dict[int, int]:
        encoder.tally.batches.clear()
        close(encoder.encode(batch), expected)
        return dict(encoder.tally.batches)

    assert len(IMAGES) == 11
    assert passes_of(pixels) == {6: 1, 5: 1}
    encoder._turns._queried -= turns.LATELY
    assert passes_of(pixels) == {11: 1}


def test_text_is_encoded_as_before(checkpoints: Checkpoints, tmp_path: Path) -> None:
    encoder = load_encoder(EncoderSpec(str(checkpoints("clip"))), device="cpu", dtype="fp32", cache_dir=tmp_path)
    before = encoder.encode_texts(["a red shoe", "two hats and a coat"])
    remember(encoder, STREAMS)
    assert encoder.prepare_for(10) == STREAMS
    close(encoder.encode_texts(["a red shoe", "two hats and a coat"]), before)


def test_streams_leave_the_threads_of_others_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        streams = Streams(2)
        assert streams.map(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
        seen: list[int] = []
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert [torch.get_num_threads(), *seen] == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_stream_is_raised_after_all_have_ended() -> None:
    ended = []

    def work(item: int) -> None:
        if item == 0:
            raise torch.OutOfMemoryError("full")
        ended.append(item)

    with pytest.raises(torch.OutOfMemoryError):
        Streams(2).map(work, range(5))
    assert sorted(ended) == [1, 2, 3, 4]


def test_too_little_memory_ends_the_tuning(encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.encode_images(IMAGES)
    remember(encoder, STREAMS)
    encoder.prepare_for(10)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Streams, "map", full)
    close(encoder.encode_images(IMAGES), expected)
    assert encoder.batch_size == 3


def test_measuring_ends_with_the_call_that_it_is_for(
    encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, timed = Call(), list[Tuning]()
    seconds = passes._seconds

    def then_nobody_waits(one: TunedPasses, *given: Any) -> float:
        timed.append(one.tuning)
        if len(timed) == 2:
            call.abandon()
        return seconds(one, *given)

    monkeypatch.setattr(passes, "_seconds", then_nobody_waits)
    expected, before = encoder.encode_images(IMAGES), encoder.batch_size
    with pytest.raises(Abandoned):
        of_call(call, lambda: encoder.prepare_for(5000))()
    assert len(timed) == 2
    assert encoder._tuned is None
    assert encoder.batch_size == before
    close(encoder.encode_images(IMAGES), expected)
    assert encoder.prepare_for(5000) is not None  # another call is another matter


class TestQueriesOfManyPictures:
    @pytest.fixture
    def measured(self, encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many pictures were asked about when it was measured, each time."""
        found: list[int] = []

        def fastest(*_: object, **__: object) -> Tuning:
            found.append(encoder._asked)
            return STREAMS

        monkeypatch.setattr(passes, "fastest", fastest)
        return found

    def test_run_as_is_remembered(self, encoder: HuggingFaceEncoder, measured: list[int]) -> None:
        expected = encoder.encode_images(IMAGES)
        remember(encoder, STREAMS)
        for _ in range(20):  # one after the other: all alike
            np.testing.assert_array_equal(encoder.encode_images(IMAGES), expected)
        assert encoder._tuned is None
        encoder.encode_images(IMAGES * 2)
        assert encoder._tuned is not None
        assert encoder._tuned.tuning == STREAMS
        assert encoder.batch_size == 6 * STREAM_TURNS
        close(encoder.encode_images(IMAGES), expected)
        assert not measured

    def test_are_measured_for_when_they_are_very_many(
        self, encoder: HuggingFaceEncoder, measured: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(huggingface, "WORTH_MEASURING", 40)
        monkeypatch.setattr(passes, "WORTH_MEASURING", 40)
        encoder._unasked()
        prepared = [encoder.prepare(image) for image in IMAGES] * 2
        expected = encoder.encode_prepared(prepared)
        encoder.encode_prepared(prepared)
        for _ in range(20):  # each may be somebody who waits for one answer
            encoder.encode_prepared(prepared[:1])
        assert measured == []
        for _ in range(3):
            close(encoder.encode_prepared(prepared), expected)
        assert measured == [64]
        assert encoder._tuned is not None

    def test_do_not_wait_for_who_is_choosing(self, encoder: HuggingFaceEncoder) -> None:
        remember(encoder, STREAMS)
        with encoder._tuning:  # in this very thread: a wait would be one without end
            encoder.encode_images(IMAGES * 3)
            assert encoder._tuned is None
        encoder.encode_images(IMAGES * 3)
        assert encoder._tuned is not None

    def test_leave_it_alone_once_memory_ran_out(
        self, encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remember(encoder, STREAMS)
        encoder.encode_images(IMAGES * 2)

        def full(*_: object) -> None:
            raise torch.OutOfMemoryError("full")

        monkeypatch.setattr(Streams, "map", full)
        encoder.encode_images(IMAGES * 9)
        assert encoder._tuned is None
        assert encoder.batch_size == 3

    def test_of_a_memory_that_cannot_run_change_nothing(self, encoder: HuggingFaceEncoder) -> None:
        remember(encoder, Tuning("no such attention", batch_size=3, rate=50.0))
        expected = encoder.encode_images(IMAGES)
        close(encoder.encode_images(IMAGES * 3)[:11], expected)
        assert encoder._tuned is None


def test_a_short_run_is_not_measured_for(encoder: HuggingFaceEncoder) -> None:
    before = encoder.batch_size
    assert encoder.prepare_for(passes.WORTH_MEASURING - 1) is None
    assert encoder.batch_size == before
    assert not (encoder._cache_dir / "tuning").exists()


def test_what_was_measured_is_remembered(encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoder.prepare_for(5000)

    def never(*_: object) -> None:
        raise AssertionError("measured a second time")

    monkeypatch.setattr(passes, "fastest", never)
    assert encoder.prepare_for(10) == first


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"attention": null}', "\xff"])
def test_a_damaged_memory_is_measured_again(encoder: HuggingFaceEncoder, text: str) -> None:
    remember(encoder, STREAMS)
    (file,) = (encoder._cache_dir / "tuning").iterdir()
    file.write_bytes(text.encode("latin-1"))
    assert encoder.prepare_for(10) is None
    assert encoder.prepare_for(5000) is not None


def test_a_cache_that_cannot_be_written(encoder: HuggingFaceEncoder) -> None:
    (encoder._cache_dir / "tuning").write_text("a file where the folder should be")
    assert encoder.prepare_for(5000) is not None


def test_memory_is_of_one_machine_model_and_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    Memory(tmp_path, "a", cpu, torch.float32).keep(STREAMS)
    assert Memory(tmp_path, "a", cpu, torch.float32).recall() == STREAMS
    assert Memory(tmp_path, "b", cpu, torch.float32).recall() is None
    assert Memory(tmp_path, "a", cpu, torch.bfloat16).recall() is None
    monkeypatch.setattr("imgvec.encoders.tuning._machine", lambda device: ["another"])
    assert Memory(tmp_path, "a", cpu, torch.float32).recall() is None


def test_the_fastest_is_by_its_best_and_failures_never_win() -> None:
    slow, quick, broken = (Tuning(None, size) for size in (1, 2, 4))
    turns = {slow: [0.3] * 9, quick: [0.9, 0.2, 0.2, 0.2], broken: [float("inf")] * 9}

    def seconds(way: Tuning) -> float:
        return turns[way].pop(0)

    # other load made the quick one's first turn slow: it is out, and the slow one wins
    assert fastest([slow, quick, broken], seconds) == Tuning(None, 1, rate=1 / 0.3)
    turns[quick] = [0.31, 0.2, 0.2, 0.2]
    assert fastest([slow, quick, broken], seconds) == Tuning(None, 2, rate=1 / 0.2)
    assert fastest([broken], seconds).rate == 0


def test_a_way_that_turns_the_vectors_away_is_not_taken(
    encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = encoder.encode_images(IMAGES)
    loaded = encoder._readout.vision.config._attn_implementation
    monkeypatch.setattr(passes, "_agree", lambda *_: False)
    assert encoder.prepare_for(5000) is None
    assert encoder._readout.vision.config._attn_implementation == loaded
    close(encoder.encode_images(IMAGES), expected)


def test_a_choice_made_beside_other_work_is_measured_again_and_stays_unless_another_is_clearly_faster() -> None:
    chosen, other = Tuning("sdpa", 8, 2, lean=True), Tuning(None, 4, 2)
    known = replace(chosen, rate=50.0).instead_of(None, busy=0.5)
    assert known.doubtful
    assert not replace(chosen, rate=50.0).instead_of(None, busy=0.05).doubtful
    little, much = {chosen: 0.0103, other: 0.01}, {chosen: 0.011, other: 0.01}
    assert fastest([other, chosen], little.__getitem__, known=known).way == chosen.way
    assert fastest([other, chosen], little.__getitem__).way == other.way
    assert fastest([other, chosen], much.__getitem__, known=known).way == other.way
    compiled = replace(known, compile_seconds=9.0, compiled_rate=70.0)
    again = replace(chosen, rate=60.0).instead_of(compiled, busy=0.5)
    assert (again.measured, again.doubtful, again.compile_seconds, again.compiled_rate) == (2, True, 9.0, 70.0)
    assert replace(other, rate=60.0).instead_of(compiled, busy=0.5).compile_seconds == 0
    assert not replace(chosen, rate=60.0).instead_of(again, busy=0.5).doubtful, "three times is enough"


def test_only_a_run_worth_measuring_for_measures_again(
    encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(encoder, replace(STREAMS, busy=0.5))
    monkeypatch.setattr(passes, "Others", Quiet)
    short = encoder.prepare_for(10)
    assert short is not None
    assert short.measured == 1
    longer = encoder.prepare_for(5000)
    assert longer is not None
    assert (longer.measured, longer.busy) == (2, 0.0)
    monkeypatch.setattr(passes, "fastest", lambda *_: pytest.fail("measured a third time"))
    assert encoder.prepare_for(5000) == longer


class Quiet:
    """Stands for `Others` on a machine that does nothing else."""

    share = 0.0

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("known", "images", "pays"),
    [
        (Tuning(None, 8, rate=50), 2_000, False),
        (Tuning(None, 8, rate=50), 20_000, True),
        (Tuning(None, 8, rate=50), None, True),
        (Tuning(None, 8, rate=50, compile_seconds=15, compiled_rate=60), 4_000, False),
        (Tuning(None, 8, rate=50, compile_seconds=15, compiled_rate=60), 5_000, True),
        (Tuning(None, 8, rate=50, compile_seconds=15, compiled_rate=49), None, False),
        (Tuning(None, 8, rate=50, compile_seconds=1), None, False),  # it failed
    ],
)
def test_compiling_is_for_runs_that_pay_for_it(known: Tuning, images: int | None, pays: bool) -> None:
    assert known.compiling_pays(images) is pays


def test_without_a_compiler_it_runs_all_the_same(
    encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = encoder.encode_images(IMAGES)
    remember(encoder, STREAMS)

    def no_compiler(*_: object, **__: object) -> Callable[..., object]:
        def compiled(batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("No working C++ compiler found\nlong trace")

        return compiled

    monkeypatch.setattr(torch, "compile", no_compiler)
    with caplog.at_level(logging.INFO, logger="imgvec"):
        tuning = encoder.prepare_for(None)
    assert "Not compiled: No working C++ compiler found" in caplog.text
    assert tuning is not None
    assert not tuning.compiling_pays(None), "it is not tried again"
    close(encoder.encode_images(IMAGES), expected)


def test_compiled_passes_are_padded(encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.encode_images(IMAGES)
    remember(encoder, STREAMS)
    sizes: list[int] = []

    def compile_(readout: Any, **_: object) -> Callable[[torch.Tensor], torch.Tensor]:
        def compiled(batch: torch.Tensor) -> torch.Tensor:
            sizes.append(len(batch))
            result: torch.Tensor = readout(batch)
            return result

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    spent = iter([0.2, 0.1] * 5)
    monkeypatch.setattr(passes, "_seconds", lambda *_: next(spent))
    tuning = encoder.prepare_for(None)
    assert tuning is not None
    assert tuning.compiled_rate == pytest.approx(2 * tuning.rate)
    sizes.clear()
    close(encoder.encode_images(IMAGES), expected)
    assert set(sizes) == {3}


def test_a_query_is_answered_while_the_encoder_is_measured_and_compiled(
    encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither waits for it, nor sees another model before all is chosen; torch's threads stay as they are."""
    expected = encoder.encode_images(IMAGES)
    reached = [threading.Event(), threading.Event()]
    go_on = [threading.Event(), threading.Event()]
    before = torch.get_num_threads()

    def halt(stage: int) -> None:
        reached[stage].set()
        assert go_on[stage].wait(60)

    def measured(ways: Sequence[Tuning], seconds_an_image: Callable[[Tuning], float], **_: object) -> Tuning:
        assert seconds_an_image(STREAMS) > 0
        halt(0)
        return STREAMS

    def compile_(readout: Any, **_: object) -> Callable[[torch.Tensor], torch.Tensor]:
        halt(1)
        return lambda batch: readout(batch)

    def untouched(_: int) -> None:
        raise AssertionError("torch's number of threads was set")

    monkeypatch.setattr(passes, "fastest", measured)
    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(torch, "set_num_threads", untouched)
    chosen: list[Tuning | None] = []
    ingest = threading.Thread(target=lambda: chosen.append(encoder.prepare_for(None)))
    ingest.start()
    for stage in (0, 1):
        assert reached[stage].wait(60)
        close(encoder.encode_images(IMAGES), expected)
        close(encoder.encode(np.stack([encoder.prepare(image) for image in IMAGES])), expected)
        assert encoder._tuned is None
        assert torch.get_num_threads() == before
        go_on[stage].set()
    ingest.join(60)
    assert chosen[0] is not None
    assert encoder._tuned is not None
    close(encoder.encode_images(IMAGES), expected)


def test_what_is_compiled_is_not_compiled_again(encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(encoder, STREAMS)
    compiled = []

    def compile_(readout: Any, **_: object) -> Any:
        compiled.append(readout)
        return readout

    monkeypatch.setattr(torch, "compile", compile_)
    spent = iter([0.2, 0.1] * 5)
    monkeypatch.setattr(passes, "_seconds", lambda *_: next(spent))
    first = encoder.prepare_for(None)
    assert encoder.prepare_for(None) == first
    assert len(compiled) == 1


def test_queries_of_several_threads_share_a_pass(encoder: HuggingFaceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.encode_images(IMAGES[:3])
    sizes: list[int] = []
    one_pass = huggingface.one_pass
    monkeypatch.setattr(
        huggingface,
        "one_pass",
        lambda readout, pixels, device: sizes.append(len(pixels)) or one_pass(readout, pixels, device),
    )
    answers: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: encoder.encode_images([IMAGES[n]])[0]}))
        for n in range(3)
    ]
    with encoder._turns.turn():
        for thread in threads:
            thread.start()
        while len(encoder._turns._queries) < 3:
            time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    close([answers[n] for n in range(3)], expected)
    assert sizes == [3]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("images", [0, 5000])
def test_a_gpu_agrees_with_the_processor(images: int, checkpoints: Checkpoints, tmp_path: Path) -> None:
    spec = EncoderSpec(str(checkpoints("dinov2")))
    expected = load_encoder(spec, device="cpu", dtype="fp32").encode_images(IMAGES)
    encoder = load_encoder(spec, device="cuda", cache_dir=tmp_path)
    encoder.prepare_for(images)
    assert (encoder.encode_images(IMAGES) * expected).sum(axis=1).min() >= 0.999


def test_streams_get_equal_shares_of_a_batch_that_is_not_full() -> None:
    sizes = list[int]()

    def readout(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return batch.reshape(len(batch), -1)[:, :4].float()

    class One:
        def of(self, tuning: Tuning) -> Any:
            return readout

    passes = TunedPasses(One(), Tuning(None, batch_size=8, streams=2), torch.device("cpu"), Streams(2))  # type: ignore[arg-type]  # stands for `Ways`
    for images, expected in [(64, [8] * 8), (36, [6] * 6), (20, [5] * 4), (17, [5, 5, 5, 2]), (2, [1, 1]), (1, [1])]:
        sizes.clear()
        pixels = np.arange(images * 12, dtype=np.uint8).reshape(images, 3, 2, 2)
        np.testing.assert_array_equal(passes(pixels), pixels.reshape(images, -1)[:, :4])
        assert sorted(sizes, reverse=True) == expected
