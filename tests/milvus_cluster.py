"""A real Milvus cluster as child processes, for tests and benchmarks: what `milvus_server.py` is for standalone.

The roles are the `milvus` wheel's binary, Milvus 2.3.5, once for each: root, data and query coordinator, data node,
index node, query nodes, proxy. etcd is Debian's (etcd-server); Kafka is the mock broker inside the wheel's librdkafka;
what would lie in S3 lies in a folder that the nodes share. Free ports, addresses of 127.0.0.1, a folder of its own: any
number of clusters and standalone servers run side by side.

    with MilvusCluster(tmp_path / "cluster") as cluster:
        client = MilvusClient(cluster.uri)
        cluster.kill("querynode1")
        cluster.respawn("querynode1")
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from kafka_stand_in import with_room
from milvus_server import Ports, healthy, is_free, log_tail, unpacked_binaries, why_unavailable
from process_keeper import ProcessKeeper

_BESIDE = ("etcd", "kafka")
"""What is not a role of Milvus."""

_SETTINGS = """\
kafka:
  consumer:
    fetch.wait.max.ms: 20
"""
"""The mock broker answers an empty fetch only when this is over, and a Strong search waits for it: 0.5 s by default. No
environment variable sets it, as Milvus drops the dots from their names."""


def why_no_cluster() -> str | None:
    """The reason why a cluster cannot run here, or None where it can."""
    if reason := why_unavailable():
        return reason
    if shutil.which("etcd") is None:
        return "no etcd on this machine (apt-get install etcd-server)"
    return None


class MilvusCluster:
    """A Milvus cluster over `directory` (made if missing), which holds its data while it runs, and its logs.

    `query_nodes`, at least one, are named querynode1, querynode2 and so on; `roles` has all names. Leaving the `with`
    block ends the cluster, and with it its data: what is not yet in storage lies in the broker's memory.

    `lease` is how many seconds a role may be silent before the others take it for dead (Milvus's own default is 30),
    `target_interval` how often, in seconds, the query coordinator moves its view of the segments on. Milvus's default
    is 10, and until the next move a respawned query node of 2.3.5 answers with no hits and no error; with 1 it does so
    for a moment only. `patience` bounds the wait for a start, in seconds. `settings` are Milvus's own, as environment
    variables: `a.bC` is `A_BC`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        query_nodes: int = 2,
        lease: int = 5,
        target_interval: int = 1,
        patience: float = 120.0,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.directory = directory.resolve()
        self.lease = lease
        self.target_interval = target_interval
        self.patience = patience
        self.settings = settings
        self.query_nodes = tuple(f"querynode{i}" for i in range(1, query_nodes + 1))
        self.roles = ("rootcoord", "datacoord", "querycoord", "indexnode", "datanode", *self.query_nodes, "proxy")
        self.pids: dict[str, int] = {}  # of what runs: the roles, etcd and kafka
        self._keeper = ProcessKeeper()
        self._broker = ""
        ports = Ports()
        self._port = {role: ports.take() for role in self.roles} | {"proxy": ports.proxy}
        self._metrics = {role: ports.take() for role in self.roles}
        self._internal, self._etcd, self._peer = (ports.take() for _ in range(3))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port['proxy']}"

    @property
    def running(self) -> tuple[str, ...]:
        """The roles that run now."""
        ended = self._keeper.ended() if self.pids else {}
        return tuple(role for role in self.roles if role in self.pids and role not in ended)

    def start(self) -> Self:
        """Start everything and wait until it is ready; RuntimeError with the logs' ends if it does not get there."""
        if self.pids:
            raise RuntimeError("the cluster was started already")
        for folder in ("configs", "logs", "tmp"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        (self.directory / "configs" / "milvus.yaml").write_text(_SETTINGS)
        # query and index nodes end at once without it
        (self.directory / "configs" / "glog.conf").write_text("--log_dir=logs/\n")
        self._keeper.__enter__()
        try:
            self._start_etcd()
            self._start_kafka()
            for role in self.roles:
                self._start_role(role)
            return self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process by SIGKILL and remove the data, which is worth nothing without the broker; logs stay."""
        self._keeper.close()
        self.pids.clear()
        for folder in ("etcd", "storage", "tmp", "librdkafka.so"):
            path = self.directory / folder
            path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)

    def kill(self, role: str) -> None:
        """End one role by SIGKILL, as a crash or the kernel's out-of-memory killer would."""
        self._end(role, signal.SIGKILL, 20)

    def terminate(self, role: str, grace: float = 60.0) -> None:
        """End one role by SIGTERM, as an orchestrator does; TimeoutError if it still runs after `grace` seconds.

        A query node gives its segments to the others first, and so needs another one that has room for them.
        """
        self._end(role, signal.SIGTERM, grace)

    def pause(self, role: str) -> None:
        """Freeze one role (SIGSTOP): its connections stay open and nothing answers."""
        self._keeper.signal(role, signal.SIGSTOP)

    def resume(self, role: str) -> None:
        """Let a frozen role go on (SIGCONT)."""
        self._keeper.signal(role, signal.SIGCONT)

    def respawn(self, role: str, *, wait: bool = True) -> None:
        """Start a role that has ended, at its old address; with `wait`, return when the cluster is ready again.

        That is after `lease` seconds where a node was killed. A ready query node may still load: see `target_interval`.
        A respawned root coordinator wants the proxy respawned too, which otherwise keeps talking to the old one for 40
        seconds.
        """
        if role not in self.roles:
            raise ValueError(f"no role {role!r}; there are {', '.join(self.roles)}")
        self._start_role(role)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> Self:
        """Wait until every role that runs calls itself healthy, and no other role still counts one that was killed."""
        self._until("healthy", lambda: all(healthy(self._metrics[role]) for role in self.running))
        nodes = sorted(role for role in self.running if not role.endswith("coord"))
        self._until(f"made of {nodes} alone", lambda: len(self._sessions()) == len(nodes))
        if "proxy" in nodes and "querycoord" in self.running:
            self._until("counting its query nodes", self._counts_query_nodes)
        return self

    def rss(self) -> int:
        """Resident memory of all processes, in bytes; pages that they share count once for each."""
        statm = (Path(f"/proc/{pid}/statm").read_text() for pid in self.pids.values())
        return sum(int(text.split()[1]) for text in statm) * resource.getpagesize()

    def pss(self) -> int:
        """Memory of all processes, in bytes; of pages that they share, each counts its share."""
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids.values())
        return sum(int(text.partition("\nPss:")[2].split()[0]) for text in rollups) * 1024

    def log(self, name: str) -> Path:
        """Where a role, or etcd or kafka, writes what it says; a respawned one goes on in the same file."""
        return self.directory / "logs" / f"{name}.log"

    def log_tail(self, lines: int = 8, width: int = 300) -> str:
        """Of each process the last `lines` warnings and errors, cut to `width` characters and without Go's stacks."""
        tails = ((name, log_tail(self.log(name), lines, width)) for name in (*_BESIDE, *self.roles))
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails if tail)

    def _sessions(self) -> list[str]:
        """The nodes that have a session in etcd; that of a killed one stays until its lease is over."""
        first, end = (base64.b64encode(key).decode() for key in (b"by-dev/meta/session/", b"by-dev/meta/session0"))
        query = json.dumps({"key": first, "range_end": end, "keys_only": True}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._etcd}/v3/kv/range", query, timeout=5) as answer:
            found = json.load(answer).get("kvs", [])
        names = (base64.b64decode(each["key"]).decode().rpartition("/")[2] for each in found)
        return sorted(name for name in names if "-" in name)  # a coordinator's has no number, and is taken over

    def _counts_query_nodes(self) -> bool:
        from pymilvus import MilvusClient, MilvusException

        client = None
        try:
            client = MilvusClient(self.uri, timeout=5)
            group = client.describe_resource_group("__default_resource_group", timeout=5)
        except MilvusException:  # a coordinator or a proxy of a moment ago
            return False
        finally:
            if client is not None:
                client.close()
        return bool(group.num_available_node == len(set(self.query_nodes) & set(self.running)))

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)} | dict(environment)
        environment["TMPDIR"] = str(self.directory / "tmp")  # where Milvus leaves a file named after its process id
        self.pids[name] = self._keeper.start(
            name, command, cwd=self.directory, environment=environment, log=self.log(name)
        )

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd, self._peer))
        options = {
            "data-dir": "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "logger": "zap",
            "unsafe-no-fsync": "true",  # nothing here outlives the machine
        }
        self._start("etcd", ["etcd", *(f"--{name}={value}" for name, value in options.items())], {})
        self._until("listening for etcd's clients", lambda: not is_free(self._etcd))

    def _start_kafka(self) -> None:
        library = with_room(unpacked_binaries() / "librdkafka.so.1", self.directory / "librdkafka.so")
        script = Path(__file__).with_name("kafka_stand_in.py")
        self._start("kafka", [sys.executable, str(script), str(library)], {})

        def listening() -> bool:
            said = re.search(r"^(127\.0\.0\.1:\d+)\n", self.log("kafka").read_text(), re.MULTILINE)
            self._broker = said[1] if said else ""
            return said is not None

        self._until("listening for Kafka's clients", listening)

    def _start_role(self, role: str) -> None:
        kind = role.rstrip("0123456789")
        section = kind.upper()
        binaries = unpacked_binaries()
        settings = {
            "LD_LIBRARY_PATH": str(binaries),
            "LOG_LEVEL": "info",
            "METRICS_PORT": str(self._metrics[role]),
            # The roles find each other by address: keep them off the machine's outside one.
            f"{section}_IP": "127.0.0.1",
            f"{section}_PORT": str(self._port[role]),
            "PROXY_INTERNALPORT": str(self._internal),
            "ETCD_USE_EMBED": "false",
            "ETCD_ENDPOINTS": f"127.0.0.1:{self._etcd}",
            "MQ_TYPE": "kafka",
            "KAFKA_BROKERLIST": self._broker,
            "COMMON_STORAGETYPE": "local",
            # Relative, since 2.3.5 takes a stored file with an absolute path for its own cache of it, and deletes it.
            "LOCALSTORAGE_PATH": "storage",
            "COMMON_SESSION_TTL": str(self.lease),
            "QUERYCOORD_UPDATENEXTTARGETINTERVAL": str(self.target_interval),
            **self.settings,
        }
        self._start(role, [str(binaries / "milvus"), "run", kind], settings)

    def _end(self, role: str, number: signal.Signals, patience: float) -> None:
        self._keeper.signal(role, number)
        self._keeper.wait(role, patience)
        self.pids.pop(role)

    def _until(self, what: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.patience
        while not reached():
            if ended := self._keeper.ended().keys() & self.pids.keys():
                raise RuntimeError(f"of the Milvus cluster {sorted(ended)} ended; its logs:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the Milvus cluster was not {what} after {self.patience} s; its logs:\n{self.log_tail()}"
                )
            time.sleep(0.1)
