"""How busy other work keeps the processors while something is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")


class Others:
    """As a context: afterwards `share` is what other processes had, 0 to 1, of the processors that this one may use.

    0 where the system does not say (it does on Linux); work of this process's own threads does not count.
    """

    share = 0.0

    def __enter__(self) -> Others:
        self._started, self._busy, self._own = time.monotonic(), _busy(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        now, seconds = _busy(), time.monotonic() - self._started
        if now is None or self._busy is None or seconds <= 0:
            return
        others = now[0] - self._busy[0] - (time.process_time() - self._own)
        self.share = min(1.0, max(0.0, others / (seconds * now[1])))


def _busy() -> tuple[float, int] | None:
    """Seconds that the processors of this process have computed since the start, and how many those are."""
    try:
        lines = _STAT.read_text(encoding="ascii", errors="replace").splitlines()
        usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = [list(map(int, line.split()[1:])) for line in lines if line.split(" ", 1)[0] in usable]
        # user, nice, system, idle, iowait, irq, softirq, steal: man 5 proc
        computing = sum(sum(each[:8]) - each[3] - each[4] for each in ticks)
        return computing / os.sysconf("SC_CLK_TCK"), len(ticks)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
