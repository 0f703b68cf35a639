"""The metrics of `/metrics`."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The metrics of `/metrics`, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        about: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("antiphon_requests", "Requests answered", ["route", "method", "status"], **about)
        self.seconds = Histogram("antiphon_request_seconds", "From request to answer", ["route"], **about)
        self.inputs = Counter("antiphon_inputs", "Inputs answered by a model", ["model"], **about)
        buckets = [1, 2, 4, 8, 16, 32, 64, 128, 256]
        self.batches = Histogram("antiphon_batch_inputs", "Inputs of a batch", ["model"], buckets=buckets, **about)
        self.waiting = Gauge("antiphon_waiting_inputs", "Inputs that wait for a model", ["model"], **about)
        self.streams = Gauge("antiphon_open_streams", "Streams that are open", **about)
