"""Start Ray Serve with adnet in it, wait, and end it."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions
from ray.serve.schema import LoggingConfig

from adnet.errors import BackendUnavailable, UsageError
from adnet.provenance import usable_cores
from adnet.runtime.serve.front import APPLICATION, WORKER, Front
from adnet.runtime.serve.limits import Limits
from adnet.runtime.serve.offer import Offer
from adnet.runtime.serve.worker import IN_WORK, Worker


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs, and where it listens."""

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: tuple[int, int] = (1, 1)
    """The least, and the most when there is much to do."""
    threads: int = 1
    """CPU threads of a replica, and cores that Ray counts for it."""
    npus: int = 0
    """Ascend devices of a replica."""
    address: str | None = None
    """Of a Ray cluster; None starts Ray on this machine alone."""


def run_server(
    place: Place,
    limits: Limits,
    offer: Offer,
    token: bytes | None,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        on_ready: called with the address when requests are taken.

    Raises:
        UsageError: the port is taken, or there are too few cores or devices for the replicas.
        BackendUnavailable: no replica could be started.
    """
    if place.address is None:
        _require_free(place.host, place.port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _start_ray(place, limits)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # Ray would drain for 30 s
    try:
        _require_room(place)
        serve.start(
            proxy_location="HeadOnly",
            http_options=HTTPOptions(host=place.host, port=place.port, keep_alive_timeout_s=30),
        )
        logging_config = LoggingConfig(log_level="WARNING", enable_access_log=False)
        application = _application(place, limits, offer, token)
        try:
            serve.run(
                application, name=APPLICATION, route_prefix="/", logging_config=logging_config
            )
        except RuntimeError as err:
            raise BackendUnavailable(f"the replicas did not start: {err}") from err
        on_ready(f"http://{place.host}:{place.port}")
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        _end(place)


def _application(
    place: Place, limits: Limits, offer: Offer, token: bytes | None
) -> serve.Application:
    least, most = place.replicas
    resources = {"NPU": place.npus} if place.npus else {}
    scaling = (
        {"num_replicas": least}
        if least == most
        else {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=least, max_replicas=most, target_ongoing_requests=IN_WORK
            )
        }
    )
    workers = serve.deployment(Worker).options(
        name=WORKER,
        ray_actor_options={"num_cpus": place.threads, "resources": resources},
        max_ongoing_requests=IN_WORK,
        max_queued_requests=limits.queue,
        graceful_shutdown_timeout_s=5,
        health_check_period_s=5,
        **scaling,
    )
    front = serve.deployment(Front).options(
        name="Front",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=5,
    )
    return front.bind(workers.bind(offer), tuple(offer.models), limits, token, most)


def _start_ray(place: Place, limits: Limits) -> None:
    """Start or join Ray; `environment.prepare` came before."""
    if place.address is None:
        ray.init(
            address="local",
            num_cpus=max(usable_cores(), place.threads),
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            object_store_memory=limits.shared_memory(IN_WORK * place.replicas[1]),
        )
    else:
        ray.init(address=place.address, logging_level=logging.ERROR, log_to_driver=False)


def _require_free(host: str, port: int) -> None:
    """Say it in one line; Ray would take a minute and a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as err:
            raise UsageError(
                f"--host {host} --port {port}: cannot listen there: {err.strerror or err}. Choose "
                "another port."
            ) from err


def _require_room(place: Place) -> None:
    there = ray.cluster_resources()
    for what, each in (("CPU", place.threads), ("NPU", place.npus)):
        need, have = each * place.replicas[0], there.get(what, 0)
        if need > have:
            raise UsageError(
                f"{place.replicas[0]} replicas with {each} {what} each need {need} {what}; Ray "
                f"finds {have:g} here. Ask for fewer with --replicas, --threads or --npus."
            )


def _end(place: Place) -> None:
    """End at once what runs here; take only the application out of a cluster."""
    if place.address is not None:
        with suppress(Exception):
            serve.delete(APPLICATION)
    ray.shutdown()
