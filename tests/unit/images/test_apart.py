"""The line to the process that decodes, and both of its ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images import apart

ROOT = Path(__file__).parents[3]
QUESTION = {"name": "RAW", "max_pixels": 1000, "min_side": None}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Fake:
    """A helper without a process."""

    made: list[Fake]

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.asked, self.ended, self.forgotten = error, 0, 0, 0
        self.made.append(self)

    def ask(self, question: dict[str, Any], data: bytes) -> apart.Answer:
        self.asked += 1
        if self.error:
            raise self.error
        return question, data

    def end(self) -> None:
        self.ended += 1

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> apart._Helpers:
    monkeypatch.setattr(Fake, "made", [], raising=False)
    monkeypatch.setattr(apart, "_Helper", Fake)
    return apart._Helpers()


class TestHelpers:
    def test_one_that_waits_is_asked_again(self, helpers: apart._Helpers) -> None:
        for data in (b"one", b"two"):
            assert helpers.ask({"name": "x"}, data) == ({"name": "x"}, data)
        assert [(fake.asked, fake.ended) for fake in Fake.made] == [(2, 0)]

    def test_one_that_died_while_it_waited_is_replaced_once(self, helpers: apart._Helpers) -> None:
        helpers.ask({}, b"")
        Fake.made[0].error = apart._Died()
        assert helpers.ask({}, b"again") == ({}, b"again")
        assert [(fake.asked, fake.ended) for fake in Fake.made] == [(2, 1), (1, 0)]
        assert helpers._idle == Fake.made[1:]

    def test_a_fresh_one_that_dies_is_not_replaced(
        self, helpers: apart._Helpers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apart, "_Helper", lambda: Fake(apart._Died()))
        with pytest.raises(apart._Died):
            helpers.ask({}, b"")
        assert [(fake.asked, fake.ended) for fake in Fake.made] == [(1, 1)]
        assert helpers._idle == []

    @pytest.mark.parametrize("error", [TimeoutError(), KeyboardInterrupt()])
    def test_one_that_is_given_up_is_ended_and_its_image_not_given_to_another(
        self, helpers: apart._Helpers, error: BaseException
    ) -> None:
        helpers.ask({}, b"")
        Fake.made[0].error = error
        with pytest.raises(type(error)):
            helpers.ask({}, b"")
        assert [(fake.asked, fake.ended) for fake in Fake.made] == [(2, 1)]
        assert helpers._idle == []

    def test_no_more_than_sixteen_wait(self, helpers: apart._Helpers) -> None:
        for _ in range(18):
            helpers._asked(Fake(), {}, b"")  # type: ignore[arg-type]
        assert len(helpers._idle) == 16
        assert [fake.ended for fake in Fake.made] == [0] * 16 + [1] * 2

    def test_the_end(self, helpers: apart._Helpers) -> None:
        helpers._idle = [Fake(), Fake()]  # type: ignore[list-item]
        helpers.end()
        assert helpers._idle == []
        assert [(fake.ended, fake.forgotten) for fake in Fake.made] == [(1, 0)] * 2

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_fork_forgets_those_that_wait_and_ends_none(
        self, helpers: apart._Helpers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting = Fake()
        monkeypatch.setattr(apart._helpers, "_idle", [waiting])
        with apart._helpers._lock:  # as another thread may hold it at that moment
            child = os.fork()
            if child == 0:
                free = apart._helpers._lock.acquire(blocking=False)
                os._exit(0 if free and not apart._helpers._idle and (waiting.forgotten, waiting.ended) == (1, 0) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert waiting.forgotten == 0


def over(line: Connection) -> apart._Helper:
    """A helper at the other end of this line, its process left out."""
    helper = object.__new__(apart._Helper)
    helper._line = line
    return helper


class TestLine:
    @pytest.fixture
    def ends(self) -> Iterator[tuple[Connection, Connection]]:
        here, there = Pipe()
        with here, there:
            yield here, there

    def test_question_and_data_go_and_answer_and_pixels_come(self, ends: tuple[Connection, Connection]) -> None:
        here, there = ends
        there.send_bytes(b'{"width": 3}')
        there.send_bytes(b"pixels")
        assert over(here).ask(QUESTION, b"data") == ({"width": 3}, b"pixels")
        assert json.loads(there.recv_bytes()) == QUESTION
        assert there.recv_bytes() == b"data"

    @pytest.mark.parametrize("answer", [[], [b"{}"], [b"no JSON", b""], [b"\xff", b""]])
    def test_one_that_is_gone_or_talks_nonsense_died(
        self, ends: tuple[Connection, Connection], answer: list[bytes]
    ) -> None:
        here, there = ends
        for part in answer:
            there.send_bytes(part)
        there.close()
        with pytest.raises(apart._Died):
            over(here).ask(QUESTION, b"")

    def test_one_that_went_without_a_word_died(self, ends: tuple[Connection, Connection]) -> None:
        here, there = ends

        def listen() -> None:
            there.recv_bytes()
            there.recv_bytes()
            there.close()

        thread = threading.Thread(target=listen)
        thread.start()
        with pytest.raises(apart._Died) as caught:
            over(here).ask(QUESTION, b"")
        thread.join()
        assert isinstance(caught.value.__cause__, EOFError | ConnectionError)

    def test_a_line_that_is_closed_died(self, ends: tuple[Connection, Connection]) -> None:
        ends[0].close()
        with pytest.raises(apart._Died) as caught:
            over(ends[0]).ask(QUESTION, b"")
        assert isinstance(caught.value.__cause__, OSError)

    def test_one_that_is_silent_is_not_waited_for(
        self, ends: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apart, "SECONDS", 0.01)
        with pytest.raises(TimeoutError):
            over(ends[0]).ask(QUESTION, b"")


class TestProcess:
    @on_linux
    def test_it_is_a_session_of_its_own_that_says_nothing_and_ends_when_told(self) -> None:
        helper = apart._Helper()
        pid = helper._process.pid
        try:
            answer, pixels = helper.ask({"name": "RAW", "max_pixels": 10, "min_side": None}, b"nonsense")
            assert answer.keys() == {"reason", "detail"}
            assert pixels == b""
            assert os.getsid(pid) == pid
            assert b"TZ=UTC" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert b"PATH=" in Path(f"/proc/{pid}/environ").read_bytes()
            assert [str(Path(f"/proc/{pid}/fd/{n}").readlink()) for n in range(3)] == ["/dev/null"] * 3
        finally:
            helper.end()
        assert helper._process.returncode == -9
        assert helper._line.closed
        with pytest.raises(apart._Died):
            helper.ask(QUESTION, b"")

    def test_in_a_fork_it_is_let_go_and_neither_waited_for_nor_ended(self) -> None:
        here, there = Pipe()
        with there:
            helper = over(here)
            helper._process = SimpleNamespace(returncode=None)  # type: ignore[assignment]
            helper.forget()
            assert here.closed
            assert helper._process.returncode == 0

    def test_none_is_left_when_the_interpreter_ends(self) -> None:
        code = """
from imgvec.images import apart
apart._helpers._idle.append(apart._Helper())
print(apart._helpers._idle[0]._process.pid)
"""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert (result.returncode, result.stderr) == (0, "")
        with pytest.raises(ProcessLookupError):
            os.kill(int(result.stdout), 0)


class TestDecodedApart:
    @pytest.fixture
    def answering(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
        def set_answer(answer: Any) -> list[Any]:
            asked: list[Any] = []

            def ask(question: dict[str, Any], data: bytes) -> apart.Answer:
                asked.append((question, data))
                if isinstance(answer, BaseException):
                    raise answer
                return answer  # type: ignore[no-any-return]

            monkeypatch.setattr(apart._helpers, "ask", ask)
            return asked

        return set_answer

    def test_what_is_asked_and_what_comes_back(self, answering: Callable[[Any], list[Any]]) -> None:
        asked = answering(({"size": [2, 1], "width": 4, "height": 2}, bytes(range(6))))
        image, known = apart.decoded_apart("HEIF", b"data", uri="u", max_pixels=9, min_side=5)
        assert asked == [({"name": "HEIF", "max_pixels": 9, "min_side": 5}, b"data")]
        assert (image.mode, image.size, image.tobytes()) == ("RGB", (2, 1), bytes(range(6)))
        assert known == {"width": 4, "height": 2}

    @pytest.mark.parametrize(
        ("answer", "reason", "detail"),
        [
            (apart._Died(), "broken", "it crashed the process that decoded it"),
            (TimeoutError(), "broken", "decoding took more than 120 s"),
            (OSError("no room"), "read failed", "cannot start a process to decode it: no room"),
            (({"reason": "truncated", "detail": "of 7 bytes"}, b""), "truncated", "of 7 bytes"),
            (({}, b""), "broken", "the process that decoded it returned garbage"),
            (({"size": 7}, b""), "broken", "the process that decoded it returned garbage"),
            (({"size": [2, 1]}, b"few"), "broken", "the process that decoded it returned garbage"),
        ],
    )
    def test_what_is_said_of_each_failure(
        self, answering: Callable[[Any], list[Any]], answer: Any, reason: str, detail: str
    ) -> None:
        answering(answer)
        with pytest.raises(UnreadableImage) as caught:
            apart.decoded_apart("RAW", b"", uri="some/file", max_pixels=9, min_side=None)
        assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("some/file", reason, detail)


def test_memory_is_bounded_for_each_image_by_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[int] = []
    monkeypatch.setattr(apart, "_data_bytes", lambda: 7)
    served(Image.new("RGB", (2, 1)), monkeypatch, bounds)
    assert bounds == [7 + (1 << 30) + 64 * 1000]


def served(outcome: Any, monkeypatch: pytest.MonkeyPatch, bounds: list[int] | None = None) -> apart.Answer:
    """What `serve` answers where decoding comes to `outcome`: an image, or an exception."""

    def decode_native(data: bytes, **question: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome, {"data": data.decode(), **question}

    here, there = Pipe()
    with here:
        monkeypatch.setattr("imgvec.images.native.decode_native", decode_native)
        monkeypatch.setattr(apart, "_bound_memory", (bounds if bounds is not None else []).append)
        monkeypatch.setattr(sys, "argv", ["-c", str(os.dup(there.fileno()))])
        monkeypatch.setattr(apart, "_IDLE_SECONDS", 0.0)  # what waits already is answered, then it ends
        there.close()
        here.send_bytes(json.dumps(QUESTION).encode())
        here.send_bytes(b"file")
        apart.serve()
        return json.loads(here.recv_bytes()), here.recv_bytes()


def test_pixels_and_what_is_known_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    assert served(image, monkeypatch) == ({"data": "file", **QUESTION}, bytes([1, 2, 3] * 2))


class Panic(BaseException):
    """As pyo3 raises one."""


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (UnreadableImage("", "truncated", "why"), {"reason": "truncated", "detail": "why"}),
        (ValueError("first line\nsecond"), {"reason": "broken", "detail": "ValueError: first line"}),
        (Panic("x" * 300), {"reason": "broken", "detail": "Panic: " + "x" * 193}),
        (MemoryError(), {"reason": "broken", "detail": "MemoryError: "}),
    ],
)
def test_whatever_it_raises_is_an_answer(
    error: BaseException, answer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served(error, monkeypatch) == (answer, b"")


@pytest.mark.parametrize("error", [EOFError(), OSError()])
def test_a_line_that_breaks_is_the_end_and_no_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Line:
        def __init__(self, number: int) -> None:
            assert number == 99

        def __enter__(self) -> Line:
            return self

        def __exit__(self, *_: object) -> None:
            waited.append(-1)

        def poll(self, seconds: float) -> bool:
            waited.append(seconds)
            raise error

    monkeypatch.setattr(apart, "Connection", Line)
    monkeypatch.setattr(sys, "argv", ["-c", "99"])
    apart.serve()
    assert waited == [300, -1]


class TestMemory:
    def test_what_is_allocated_is_read_in_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def path(name: str) -> Any:
            asked.append(name)
            return SimpleNamespace(read_text=lambda: "10 20 30 40 50 60 70\n")

        monkeypatch.setattr(apart, "Path", path)
        assert apart._data_bytes() == 60 * os.sysconf("SC_PAGE_SIZE")
        assert asked == ["/proc/self/statm"]

    @pytest.mark.parametrize("text", ["1 2 3 4 5", "1 2 3 4 5 x", None])
    def test_a_system_that_does_not_say(self, text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        def read_text() -> str:
            if text is None:
                raise FileNotFoundError
            return text

        monkeypatch.setattr(apart, "Path", lambda name: SimpleNamespace(read_text=read_text))
        assert apart._data_bytes() == 0

    @pytest.fixture
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The hard limit that is read, and then those that are set."""
        import resource

        monkeypatch.setattr(sys, "platform", "linux")
        found: list[Any] = [resource.RLIM_INFINITY]
        monkeypatch.setattr(resource, "getrlimit", lambda kind: (5, found[0]) if kind == resource.RLIMIT_DATA else None)

        def setrlimit(kind: int, both: tuple[int, int]) -> None:
            assert kind == resource.RLIMIT_DATA
            found.append(both)

        monkeypatch.setattr(resource, "setrlimit", setrlimit)
        return found

    @pytest.mark.parametrize(("hard", "bound"), [(None, 1000), (999, 999), (1000, 1000), (1001, 1000)])
    def test_the_bound_is_no_higher_than_the_system_s(self, limits: list[Any], hard: int | None, bound: int) -> None:
        limits[0] = hard = limits[0] if hard is None else hard
        apart._bound_memory(1000)
        assert limits[1:] == [(bound, hard)]

    @pytest.mark.parametrize("error", [ValueError(), OSError()])
    def test_a_system_that_refuses_costs_the_bound_alone(
        self, limits: list[Any], error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr("resource.setrlimit", refuse)
        apart._bound_memory(1000)

    def test_elsewhere_nothing_is_set(self, limits: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        apart._bound_memory(1000)
        assert limits[1:] == []
