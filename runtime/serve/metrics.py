"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from adnet.runtime.serve.answers import Answer

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of one front; all requests pass through it."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "adnet_requests", "Requests to /denoise, by status.", ["status"], registry=registry
        )
        self._pixels = Counter("adnet_pixels", "Pixels denoised.", registry=registry)
        self._bytes_in = Counter("adnet_bytes_in", "Bytes of files taken.", registry=registry)
        self._bytes_out = Counter("adnet_bytes_out", "Bytes of files sent.", registry=registry)
        self._work = Histogram(
            "adnet_work_seconds",
            "Decoding, denoising and encoding of one file.",
            buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
            registry=registry,
        )
        self._total = Histogram(
            "adnet_request_seconds",
            "From the header of a request to its answer, waiting included.",
            buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
            registry=registry,
        )
        self.in_flight = Gauge(
            "adnet_in_flight", "Requests that come in, wait or are in work.", registry=registry
        )
        self._replicas = Gauge("adnet_replicas", "Replicas that run.", registry=registry)

    def add(self, answer: Answer, taken: int, seconds: float) -> None:
        """Count a request to /denoise."""
        self._requests.labels(str(answer.status)).inc()
        self._total.observe(seconds)
        self._bytes_in.inc(taken)
        if answer.status == 200:
            self._pixels.inc(answer.pixels)
            self._bytes_out.inc(len(answer.body))
            self._work.observe(answer.seconds)

    def as_text(self, replicas: int) -> bytes:
        """Return all of it in Prometheus's text format."""
        self._replicas.set(replicas)
        text: bytes = generate_latest(self._registry)
        return text
