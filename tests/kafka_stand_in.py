"""A Kafka broker for tests: the mock cluster inside librdkafka, over real TCP on 127.0.0.1, held in memory.

    python kafka_stand_in.py LIBRARY     # prints HOST:PORT, and serves until it is killed

`LIBRARY` is a copy of the milvus wheel's librdkafka that `with_room` made.
"""

from __future__ import annotations

import ctypes
import signal
import struct
import sys
from pathlib import Path

#: The mock's limits of a partition's log in librdkafka 1.9.1, one constant: bytes, messages.
_ITS_LIMITS = struct.pack("<QQ", 5 << 20, 100_000)
_LIMITS = struct.pack("<QQ", 512 << 20, 100_000_000)


def with_room(library: Path, target: Path) -> Path:
    """Write a copy of `library` whose mock broker keeps 512 MB a partition to `target`, which is returned.

    With the limits it comes with it drops the oldest messages past 5 MB, and a restarted node that reads a channel from
    its last checkpoint would lose rows. RuntimeError if they are not where librdkafka 1.9.1 has them.
    """
    content = library.read_bytes()
    if content.count(_ITS_LIMITS) != 1:
        raise RuntimeError(f"{library} is not the librdkafka 1.9.1 whose mock broker this module knows")
    target.write_bytes(content.replace(_ITS_LIMITS, _LIMITS))
    return target


def _serve(library: str) -> None:
    kafka = ctypes.CDLL(library)
    for function in (kafka.rd_kafka_conf_new, kafka.rd_kafka_new, kafka.rd_kafka_mock_cluster_new):
        function.restype = ctypes.c_void_p
    kafka.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    said = ctypes.create_string_buffer(512)
    producer = kafka.rd_kafka_new(0, ctypes.c_void_p(kafka.rd_kafka_conf_new()), said, ctypes.c_size_t(len(said)))
    if not producer:
        sys.exit(said.value.decode())
    cluster = kafka.rd_kafka_mock_cluster_new(ctypes.c_void_p(producer), 1)
    if not cluster:
        sys.exit("librdkafka made no mock cluster")
    print(kafka.rd_kafka_mock_cluster_bootstraps(ctypes.c_void_p(cluster)).decode(), flush=True)
    signal.pause()


if __name__ == "__main__":
    _serve(sys.argv[1])
