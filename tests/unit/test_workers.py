from __future__ import annotations

import os
import signal
import threading

import pytest

from imgvec.workers import WorkerDiedError, WorkerProcesses, workers


def work(job: int) -> int:
    """Ten times the job; 13 kills its process, 7 is an error."""
    if job == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 7:
        raise ValueError("seven")
    return job * 10


@pytest.mark.parametrize(("threads", "processes"), [(2, 0), (1, 2)])
def test_results_and_errors(threads: int, processes: int) -> None:
    pool = workers(threads, processes)
    futures = [pool.submit(work, job) for job in range(10)]
    for job, future in enumerate(futures):
        if job == 7:
            with pytest.raises(ValueError, match="seven"):
                future.result(30)
        else:
            assert future.result(30) == job * 10
    pool.shutdown()


@pytest.mark.slow
def test_a_job_that_kills_its_process_costs_itself_alone() -> None:
    before = set(threading.enumerate())
    pool = WorkerProcesses(2)
    try:
        for _ in range(2):  # the pool is as good as new after it
            futures = {job: pool.submit(work, job) for job in (1, 2, 13, 4, 5, 6)}
            with pytest.raises(WorkerDiedError):
                futures.pop(13).result(60)
            assert {job: future.result(60) for job, future in futures.items()} == {j: j * 10 for j in futures}
    finally:
        pool.shutdown(cancel_futures=True)
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("imgvec")]
