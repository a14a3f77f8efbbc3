"""What Prometheus reads: names begin with `imgvec_`, units are seconds, labels have few values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from imgvec.encoders.turns import Tally
from imgvec.serving.job import ENDED, JobKind, State
from imgvec.serving.lanes import Lane

if TYPE_CHECKING:
    from imgvec.serving.jobs import Jobs

_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Those of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "imgvec_http_requests", "Requests, by route and status.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "imgvec_http_request_seconds", "From a request's head to the end of its answer.", ["route"],
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "imgvec_search_stage_seconds", "Of searches, by stage.", ["stage"], buckets=_BUCKETS, registry=registry
        )
        self._refused = Counter("imgvec_refused", "Requests without an answer, by why.", ["reason"], registry=registry)
        self._pictures = Counter(
            "imgvec_pictures_refused", "Pictures that could not be read, by why.", ["reason"], registry=registry
        )
        self._lanes = Gauge(
            "imgvec_lane_requests", "Requests that are worked on or wait, by lane.", ["lane"], registry=registry
        )
        self._waiting = Gauge("imgvec_queue_requests", "Requests that wait, by lane.", ["lane"], registry=registry)
        self._recall = Gauge(
            "imgvec_probe_recall_ratio", "Recall of the standing probes at a limit, as last measured.",
            ["collection", "limit"], registry=registry,
        )  # fmt: skip
        self._jobs = Gauge("imgvec_jobs", "Jobs that have not ended, by state.", ["state"], registry=registry)
        self._ended = Counter(
            "imgvec_jobs_ended", "Jobs that have ended, by kind and how.", ["kind", "state"], registry=registry
        )

    def watch_jobs(self, jobs: Jobs) -> None:
        for state in get_args(State):
            if state not in ENDED:
                self._jobs.labels(state).set_function(partial(jobs.count, state))

    def job_ended(self, kind: JobKind, state: State) -> None:
        self._ended.labels(kind, state).inc()

    def watch(self, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            self._lanes.labels(lane.name).set_function(lambda lane=lane: lane.taken)  # type: ignore[misc]  # mypy#12557
            self._waiting.labels(lane.name).set_function(lambda lane=lane: lane.waiting)  # type: ignore[misc]  # as above

    def watch_encoders(self, tallies: Callable[[], Iterable[tuple[str, Tally]]]) -> None:
        """`tallies` gives those of the encoders that are loaded, each once, with the model's name."""
        self._registry.register(_Encoders(tallies))

    def recalled(self, collection: str, limit: int, recall: float) -> None:
        self._recall.labels(collection, str(limit)).set(recall)

    def request(self, method: str, route: str, status: int, seconds: float, reason: str | None) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if reason is not None:
            self._refused.labels(reason).inc()

    def searched(self, seconds: Mapping[str, float]) -> None:
        for stage, each in seconds.items():
            self._stages.labels(stage).observe(each)

    def refused_picture(self, reason: str) -> None:
        self._pictures.labels(reason).inc()

    def text(self) -> bytes:
        """In Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)


class _Encoders(Collector):
    """What encoders count themselves, at the moment when it is asked for."""

    def __init__(self, tallies: Callable[[], Iterable[tuple[str, Tally]]]) -> None:
        self._tallies = tallies

    def describe(self) -> Iterable[Metric]:
        """Nothing is loaded yet when it is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        batches = HistogramMetricFamily(
            "imgvec_encoder_batch_items", "Pictures or texts that an encoder took at once.", labels=["encoder"]
        )
        idle = CounterMetricFamily(
            "imgvec_encoder_idle_seconds", "Time in which an encoder had nothing to do.", labels=["encoder"]
        )
        by_model: dict[str, list[Tally]] = {}
        for model, tally in self._tallies():
            by_model.setdefault(model, []).append(tally)
        for model, several in by_model.items():
            sizes = [size for each in several for size in each.batches.copy().items()]
            below = [(str(float(edge)), sum(times for size, times in sizes if size <= edge)) for edge in _ITEMS]
            passes, items = sum(times for _, times in sizes), sum(size * times for size, times in sizes)
            batches.add_metric([model], [*below, ("+Inf", passes)], items)
            idle.add_metric([model], sum(each.idle_seconds for each in several))
        yield batches
        yield idle
