"""A real Milvus standalone server as a child process, for tests and benchmarks.

The binaries are those of the `milvus` wheel: Milvus 2.3.5 for Linux x86-64, with etcd and the message queue inside the
one process. Every server has its own free ports and its own data directory, so any number of them run side by side.

    with MilvusServer(tmp_path / "milvus") as server:
        client = MilvusClient(server.uri)
        server.kill()
        server.start()      # same data, same address
"""

from __future__ import annotations

import http.client
import importlib.resources
import importlib.util
import lzma
import os
import platform
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

#: What the wheel's server calls itself.
VERSION = "2.3.5"

#: In the server's log: what is not a warning, and the frames of Go's stacks.
_PASSED_OVER = re.compile(
    r'.*\] \[(INFO|DEBUG)\] \[|I\d{8} |.*"level":"info"|\t|goroutine |created by |[\w./*()-]+\(.*\)$|$'
)

_ROLES = ("ROOTCOORD", "PROXY", "QUERYCOORD", "QUERYNODE", "INDEXNODE", "DATACOORD", "DATANODE")


def why_unavailable() -> str | None:
    """The reason why the server cannot run here, or None where it can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "the milvus wheel's server runs on Linux x86-64 only"
    if importlib.util.find_spec("milvus") is None:
        return "the milvus wheel is not installed (pip install 'imgvec[test]')"
    return None


class MilvusServer:
    """A Milvus server over `directory` (made if missing), which holds its data, configuration and log.

    `start` and `stop` can alternate as often as wanted: data, ports and `uri` stay. Leaving the `with` block stops the
    server, and leaves the directory.

    `lease` is how many seconds a component may be silent before the others take it for dead: a server that was killed
    needs as long, after it starts again, to load collections, and one that was paused for longer ends itself.
    `patience` bounds the wait for a start, in seconds. `settings` are Milvus's own, as environment variables
    (`COMMON_SECURITY_AUTHORIZATIONENABLED`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        lease: int = 10,
        patience: float = 60.0,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.directory = directory
        self.lease = lease
        self.patience = patience
        self.settings = settings
        self.log = directory / "milvus.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = Ports()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except RuntimeError as failure:
            # Seen once in some hundred starts beside others: a component stays silent for ever, as when something else
            # takes its port between choosing and binding.
            print(f"{failure}\nstarting it again, on other ports", file=sys.stderr)
            shutil.rmtree(self.directory)
            self._ports = Ports()
            return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(grace=2)  # who wants its data restarts it within the block

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._ports.proxy}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._child().pid

    def start(self) -> Self:
        """Start the server and wait until it calls itself healthy; RuntimeError with the log's end if it does not."""
        if self.running:
            raise RuntimeError("the server is running already")
        if not self.log.exists():
            self._configure()
        binaries = unpacked_binaries()
        environment = os.environ | {
            "DEPLOY_MODE": "STANDALONE",
            "LD_LIBRARY_PATH": str(binaries),
            "METRICS_PORT": str(self._ports.metrics),
            "MILVUS_RUN_DIR": str(self.directory / "run"),
            # Without a file of its own the embedded etcd takes 2379 and 2380 of the machine.
            "ETCD_CONFIG_PATH": str(self.directory / "configs" / "etcd.yaml"),
            "COMMON_SESSION_TTL": str(self.lease),  # by default 30 s
            "COMMON_GRACEFULSTOPTIMEOUT": "1",  # by default half an hour
            # Relative, since 2.3.5 takes a stored file with an absolute path for its own cache of it, and deletes it.
            "LOCALSTORAGE_PATH": "data",
            # The components find each other by address: keep them off the machine's outside one.
            **{f"{role}_IP": "127.0.0.1" for role in _ROLES},
            **self.settings,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [binaries / "milvus", "run", "standalone"],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, grace: float = 20.0) -> None:
        """End the server by SIGTERM, by SIGKILL if it is still there after `grace` seconds; nothing if it is down.

        2.3.5 may abort with a Go panic on SIGTERM, as its etcd goes down first; what it has acknowledged is kept.
        """
        if not self.running:
            return
        self.resume()  # a paused process does not see SIGTERM
        process = self._child()
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server by SIGKILL, as a crash or the kernel's out-of-memory killer would."""
        process = self._child()
        process.kill()
        process.wait(20)

    def restart(self) -> None:
        """Stop, and start over the same data at the same address."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open and nothing answers."""
        self._child().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._child().send_signal(signal.SIGCONT)

    def rss(self) -> int:
        """Resident memory of the server, in bytes."""
        resident_pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return resident_pages * resource.getpagesize()

    def log_tail(self, lines: int = 30, width: int = 300) -> str:
        """The last `lines` warnings and errors of the server, cut to `width` characters and without Go's stacks."""
        return log_tail(self.log, lines, width)

    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server was never started")
        return self._process

    def _configure(self) -> None:
        """Write configs/milvus.yaml, rendered by the wheel, and configs/etcd.yaml."""
        from milvus import MilvusServerConfig

        self.directory.mkdir(parents=True, exist_ok=True)
        config = MilvusServerConfig(data_dir=str(self.directory))
        config.update(proxy_port=self._ports.proxy)
        for item in config.configurable_items:
            if item.endswith("_port") and item != "proxy_port":
                config.update(**{item: self._ports.take()})
        config.resolve()
        client, peer = (f"http://127.0.0.1:{self._ports.take()}" for _ in range(2))
        (self.directory / "configs" / "etcd.yaml").write_text(
            f"listen-client-urls: {client}\n"
            f"advertise-client-urls: {client}\n"
            f"listen-peer-urls: {peer}\n"
            f"initial-advertise-peer-urls: {peer}\n"
            f"initial-cluster: default={peer}\n"
        )

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if not self.running:
                raise RuntimeError(f"the Milvus server ended while starting; its log:\n{self.log_tail()}")
            if healthy(self._ports.metrics):
                return
            time.sleep(0.1)
        raise RuntimeError(f"the Milvus server was not healthy after {self.patience} s; its log:\n{self.log_tail()}")


def log_tail(log: Path, lines: int = 30, width: int = 300) -> str:
    """The last `lines` warnings and errors in a Milvus log, cut to `width` characters and without Go's stacks."""
    if not log.exists():
        return ""
    worth = (line[:width] for line in log.read_text(errors="replace").splitlines() if not _PASSED_OVER.match(line))
    return "\n".join(deque(worth, maxlen=lines))


class Ports:
    """Ports of 127.0.0.1 that nobody listened on when they were taken.

    They lie below the ephemeral range: while the server is down, a client that keeps knocking on an ephemeral port can
    be given that very port as its own, and then talks to itself.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self.proxy = self.take()
        self.metrics = self.take()

    def take(self) -> int:
        while True:
            port = random.randrange(15_000, 32_000)
            if port not in self._taken and is_free(port):
                self._taken.add(port)
                return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def healthy(port: int) -> bool:
    """Whether the Milvus process whose metrics port this is calls itself healthy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def unpacked_binaries() -> Path:
    """The folder of the wheel's binaries (240 MB), unpacked once per user and version."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imgvec-test"
    folder = cache / f"milvus-{VERSION}"
    if folder.is_dir():
        return folder
    packed = sorted(Path(str(importlib.resources.files("milvus"))).glob("data/bin/*.lzma"))
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        unpacked = Path(scratch) / "bin"
        unpacked.mkdir()
        for archive in packed:
            target = unpacked / archive.stem
            with lzma.open(archive) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            target.chmod(0o755)
        try:
            unpacked.rename(folder)  # whole or not at all: another test run may be doing the same
        except OSError:
            if not folder.is_dir():
                raise
    return folder
