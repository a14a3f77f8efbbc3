"""The same ingest on Ray Data: one task reads the source, actors decode, encode and write.

    source ─▶ chunks of records ─▶ actors: imgvec.ingest over each chunk ─▶ reports, added up by the driver
              └ a read task ┘      └ one encoder each, `num_gpus` as asked ┘

Rows, refused images and restarting are those of the local engine, because each actor runs it: what is stored unchanged
is skipped before it is decoded. Files are read by the workers, under the paths that the driver sees: on more than one
machine they stand on storage that all of them share.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from imgvec.engines.stores import DriversNotes, DriversStore, served
from imgvec.engines.worker import Outcome, Work, Worker, read
from imgvec.errors import EngineFailed, ImgvecError, MissingExtra, UsageError
from imgvec.ingest import Job, RunOptions
from imgvec.options import settled
from imgvec.report import IngestReport
from imgvec.rows import VECTOR
from imgvec.sources import Item

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

CHUNKS_A_WORKER = 2
"""Chunks that an actor works on at once: while one is encoded, the next is looked up and decoded."""


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Ingests on a Ray cluster: the connected one, the one named by `RAY_ADDRESS`, or one started on this machine."""

    workers: int | None = None
    """Number of actors, each with an encoder; None for one per available GPU, or one per node without GPUs."""
    gpus_per_worker: float = 0.0
    """0 encodes on CPUs; below 1, workers share a GPU."""
    encoder_factory: Callable[[], Encoder] | None = None
    """Makes a worker's encoder of `vector`, instead of loading the one that the collection remembers; picklable."""

    def ingest(self, job: Job, **options: Unpack[RunOptions]) -> IngestReport:
        """`Engine.ingest` on the cluster.

        The job's records, factories and `row_fields` are called in other processes, and picklable. Without a
        `store_factory` the driver makes the workers' calls to the job's store. `seconds` of the report is the driver's
        time, `stage_seconds` are summed over workers. Raises `EngineFailed` besides.
        """
        chosen = settled(RunOptions, options)
        errors, on_progress, on_notice = chosen["errors"], chosen["on_progress"], chosen["on_notice"]
        stop, store = chosen["stop"], job.store
        if chosen["on_duplicate"] != "keep":
            raise UsageError(
                "workers of a cluster do not know each other's files: ingest with on_duplicate keep and look for "
                "duplicates afterwards, or ingest without Ray"
            )
        encoders = {**job.encoder_factories, **({VECTOR: self.encoder_factory} if self.encoder_factory else {})}
        if VECTOR not in encoders:
            raise EngineFailed("each Ray worker loads its own encoder: pass encoder_factory to RayEngine")
        ray = _ray()
        start = time.perf_counter()
        total = IngestReport()
        broken: ImgvecError | None = None
        with ExitStack() as stack:
            log = stack.enter_context(Path(errors).open("w", encoding="utf-8")) if errors is not None else None
            stack.enter_context(_cluster(ray))
            journal_factory = None
            if job.views is not None:
                journal_factory = job.journal_factory or DriversNotes(stack.enter_context(served(job.views.journal)))
            work = Work(
                encoders=encoders,
                store_factory=job.store_factory or DriversStore(stack.enter_context(served(store))),
                row_fields=job.row_fields,
                resources=job.resources,
                strict=chosen["strict"],
                folder=str(Path.cwd()),
                expand=None if job.views is None else job.views.expand,
                journal_factory=journal_factory,
            )
            for outcome in self._outcomes(ray, job.records, work):
                told = _add(total, outcome.report)
                if on_notice:
                    for notice in told:
                        on_notice(notice)
                total.seconds = time.perf_counter() - start
                if log:
                    log.write(outcome.refused)
                    log.flush()
                if on_progress:
                    on_progress(total.progress())
                if outcome.error:
                    raise outcome.error
                broken = broken or outcome.broken
                if stop and stop.is_set():
                    total.interrupted = True
                    break
        total.seconds = time.perf_counter() - start
        if on_progress:
            on_progress(total.progress())
        if broken:
            raise broken
        return total

    def _outcomes(self, ray: Any, records: Callable[[], Iterable[Item]], work: Work) -> Iterator[Outcome]:
        from ray import cloudpickle
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.target_max_block_size = 1  # a block holds one chunk, and goes to an actor as soon as it is read
        workers = self.workers or self._most_workers(ray)
        with DataContext.current(context), warnings.catch_warnings():
            # one task reads, and many chunks come of it
            warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
            try:
                chunks = ray.data.read_datasource(
                    _source(records, work.folder),
                    override_num_blocks=1,
                    num_cpus=0,
                    # where the driver is, the source's paths mean what the caller meant
                    label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
                )
                outcomes = chunks.map(
                    Worker,
                    fn_constructor_args=[cloudpickle.dumps(work)],
                    compute=ActorPoolStrategy(
                        size=workers,
                        max_concurrent_calls_per_actor=CHUNKS_A_WORKER,
                        enable_true_multi_threading=True,
                    ),
                    num_cpus=_cpus_per_worker(ray, workers),
                    num_gpus=self.gpus_per_worker or None,
                )
                for row in outcomes.iter_rows():
                    yield pickle.loads(row["outcome"])  # noqa: S301  from our own workers
            except ray.exceptions.RayError as exc:
                reason = next((line for line in reversed(str(exc).splitlines()) if line.strip()), type(exc).__name__)
                raise EngineFailed(f"Ray gave up: {reason.strip()}") from exc

    def _most_workers(self, ray: Any) -> int:
        if self.gpus_per_worker:
            gpus = ray.cluster_resources().get("GPU", 0.0)
            if gpus < self.gpus_per_worker:
                raise EngineFailed(f"the Ray cluster has {gpus:g} GPUs, but each worker needs {self.gpus_per_worker:g}")
            return int(gpus / self.gpus_per_worker)
        return sum(node["Alive"] for node in ray.nodes())


def _cpus_per_worker(ray: Any, workers: int) -> int:
    """An equal share of the smallest node's processors: Ray lets a worker's torch use as many threads."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    smallest = min(node["Resources"].get("CPU", 1.0) for node in nodes)
    return max(1, int(smallest // -(-workers // len(nodes))))


def _source(records: Callable[[], Iterable[Item]], folder: str) -> Any:
    """The source as Ray Data's own kind: one task, which gives a block for each chunk."""
    import pyarrow as pa
    from ray import cloudpickle
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def blocks() -> Iterator[pa.Table]:
        for chunk in read(records, folder, cloudpickle.dumps):
            yield pa.table({"chunk": pa.array([chunk], pa.large_binary())})

    class Records(Datasource):  # type: ignore[misc]  # Ray has no types
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(blocks, unknown)]

    return Records()


def _add(total: IngestReport, part: IngestReport) -> list[str]:
    """Adds up; gives the notices that are new."""
    for name in ("seen", "written", "updated", "unchanged", "duplicates", "bytes_read", "retries"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    total.refused.update(part.refused)
    total.passed_over.update(part.passed_over)
    total.first_passed_over = part.first_passed_over | total.first_passed_over
    new = [notice for notice in part.notices if notice not in total.notices]
    total.notices += new
    for stage, seconds in part.stage_seconds.items():
        total.stage_seconds[stage] += seconds
    return new


def _ray() -> Any:
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra("ray", "the ray engine needs Ray, which is not installed")
    # a cluster that imgvec starts reports its use to nobody; Ray reads this when it is imported
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    return ray


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """A connection to a cluster, and quiet: stdout belongs to results, and failures come as values."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ray.exceptions.RayError) as exc:
        raise EngineFailed(f"cannot reach a Ray cluster: {exc}; check RAY_ADDRESS, or unset it") from exc
    try:
        yield
    finally:
        ray.shutdown()
