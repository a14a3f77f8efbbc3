"""Child processes that never outlive the process which started them, however that one ends.

`PR_SET_PDEATHSIG` alone does not do: it acts when the *thread* that started the child ends, and pytest-timeout, Ray and
tests start processes from threads. So a process in between, which has one thread, starts the children with that signal
set, and ends when the process above it does.

    with ProcessKeeper() as keeper:
        keeper.start("etcd", ["etcd", ...], cwd=folder, environment={...}, log=folder / "etcd.log")
        keeper.signal("etcd", signal.SIGKILL)
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_PR_SET_PDEATHSIG = 1


class ProcessKeeper:
    """Starts processes by name, signals them and knows how they ended. Safe to use from several threads."""

    def __init__(self) -> None:
        self._keeper: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        # A session of its own: Ctrl-C at the terminal is for pytest, whose fixtures then end the children.
        self._keeper = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process in between."""
        assert self._keeper is not None, "not entered"
        return self._keeper.pid

    def start(self, name: str, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path) -> int:
        """Start a process under `name`, what it says appended to `log`; its process id."""
        return int(
            self._ask(start=name, command=list(command), cwd=str(cwd), environment=dict(environment), log=str(log))
        )

    def signal(self, name: str, number: int) -> None:
        """Send a signal; RuntimeError if the process has ended already."""
        self._ask(signal=name, number=int(number))

    def ended(self) -> dict[str, int]:
        """Of the processes that have ended: exit status, negative for the signal that ended it."""
        return dict(self._ask(ended=True))

    def wait(self, name: str, patience: float) -> int:
        """The exit status of `name` once it has ended; TimeoutError if it still runs after `patience` seconds."""
        deadline = time.monotonic() + patience
        while (status := self.ended().get(name)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} still runs after {patience} s")
            time.sleep(0.02)
        return status

    def close(self) -> None:
        """End every process by SIGKILL, and return when all are gone."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and its children with it
            keeper.stdin.close()  # the keeper then kills and reaps its children
        keeper.wait(60)
        keeper.stdout.close()

    def _ask(self, **request: Any) -> Any:
        with self._turn:
            keeper = self._keeper
            assert keeper is not None, "not entered"
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            try:
                keeper.stdin.write(json.dumps(request) + "\n")
                keeper.stdin.flush()
                answer = keeper.stdout.readline()
            except BrokenPipeError:
                answer = ""
        if not answer:
            raise RuntimeError("the process keeper has ended")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["done"]


def _keep(parent: int) -> None:
    """Serve requests, one JSON object a line, until stdin ends or `parent` is gone; then end all children."""
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        # A process that the parent forked may hold the other end of stdin open, so that is not enough to watch.
        watched = os.pidfd_open(parent)
        pending = b""
        while os.getppid() == parent:
            ready, _, _ = select.select([0, watched], [], [])
            if watched in ready:
                return
            came = os.read(0, 1 << 16)
            if not came:
                return
            *lines, pending = (pending + came).split(b"\n")
            for line in lines:
                try:
                    answer = {"done": _serve(json.loads(line), children)}
                except (OSError, RuntimeError) as error:
                    answer = {"error": str(error)}
                print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        pass
    finally:
        for child in children.values():
            child.kill()
        for child in children.values():
            child.wait()


def _serve(request: dict[str, Any], children: dict[str, subprocess.Popen[bytes]]) -> object:
    if name := request.get("start"):
        if name in children and children[name].poll() is None:
            raise RuntimeError(f"{name} runs already")
        with Path(request["log"]).open("ab") as log:
            children[name] = subprocess.Popen(
                request["command"],
                cwd=request["cwd"],
                env=request["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_keeper,
            )
        return children[name].pid
    if name := request.get("signal"):
        if name not in children or children[name].poll() is not None:
            raise RuntimeError(f"{name} does not run")
        children[name].send_signal(request["number"])
        return None
    return {name: child.returncode for name, child in children.items() if child.poll() is not None}


def _die_with_keeper() -> None:
    """In the child: be killed when the keeper's only thread ends, even by SIGKILL."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != _own_pid:  # it ended before that was set
        os._exit(1)


if __name__ == "__main__":
    _libc, _own_pid = ctypes.CDLL(None), os.getpid()
    _keep(int(sys.argv[1]))
