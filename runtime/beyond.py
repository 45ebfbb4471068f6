"""What goes beyond files of one machine: addresses, lists of jobs, clusters, images by chunk.

`wanted` tells whether a request is of this kind; `run` carries it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from adnet import storage
from adnet.errors import AdnetError, DeviceLostError, UsageError
from adnet.images.formats.kinds import FORMATS
from adnet.images.scan import Found
from adnet.runtime.addresses import plan_addresses
from adnet.runtime.cluster.options import IMAGES_PER_TASK, ClusterOptions, parse_workers
from adnet.runtime.gigapixel.grid import CHUNK
from adnet.runtime.gigapixel.source import ZARR
from adnet.runtime.jobs import Job, is_suffix_of_file, refuse_collisions
from adnet.runtime.lists import read_list
from adnet.runtime.naming import Naming
from adnet.runtime.progress import Listener
from adnet.runtime.request import Request
from adnet.runtime.settings import Settings
from adnet.runtime.staged import Pair, place_of, run_pairs
from adnet.runtime.summary import ImageReport, Summary

_ZARR_NAMES = ("zarr.json", ".zarray", ".zgroup")
"""One of them is there where an array or group is."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """What adnet-run is asked for; None or False is not.

    Raises:
        UsageError: a side of chunks, but nothing goes by chunk.
    """

    inputs: Sequence[str]
    output: str | None
    jobs: str | None = None
    """A list of images, and of outputs if it names them."""
    cluster: ClusterOptions | None = None
    by_chunk: bool = False
    chunk: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.chunk is not None and not self.goes_by_chunk:
            raise UsageError(
                "--chunk goes with --by-chunk, or with an input or output named .zarr."
            )

    @property
    def is_wanted(self) -> bool:
        """Tell whether anything here is asked for; else it is a run as ever."""
        places = [*self.inputs, *([self.output] if self.output else [])]
        return (
            self.jobs is not None
            or self.cluster is not None
            or self.goes_by_chunk
            or any(storage.is_address(place) for place in places)
        )

    @property
    def goes_by_chunk(self) -> bool:
        """Tell whether images are to be read and written piece by piece."""
        places = [*self.inputs, *([self.output] if self.output else [])]
        return self.by_chunk or any(storage.suffix_of(place) == ZARR for place in places)

    @property
    def is_of_paths(self) -> bool:
        """Tell whether inputs and output are files and folders of this machine."""
        places = [*self.inputs, *([self.output] if self.output else [])]
        return self.jobs is None and not any(storage.is_address(place) for place in places)

    def refuse_what_does_not_go(self, request: Request, *, watch: bool, dry_run: bool) -> None:
        """Refuse options that only go with files of one machine.

        Raises:
            UsageError: naming the option.
        """
        named = request.naming != Naming() and (self.goes_by_chunk or not self.is_of_paths)
        for option, is_given in (
            ("--watch", watch),
            ("--dry-run", dry_run),
            ("--compare", request.compare is not None),
            ("--suffix and --format", named),
            ("- for stdin or stdout", "-" in (*self.inputs, self.output)),
            ("--sigma auto", self.goes_by_chunk and request.sigma == "auto"),
        ):
            if is_given:
                raise UsageError(
                    f"{option}: does not go with addresses, --jobs, --cluster, or images by chunk."
                )


def cluster_options(
    address: str | None,
    workers: str | None,
    worker_cpus: int | None,
    worker_npus: int | None,
    worker_gpus: int | None,
    images_per_task: int | None,
) -> ClusterOptions | None:
    """Read the options of a cluster.

    Raises:
        UsageError: out of range, or given without --cluster.
    """
    given = (workers, worker_cpus, worker_npus, worker_gpus, images_per_task)
    if address is None:
        if any(value is not None for value in given):
            raise UsageError("--workers, --worker-... and --images-per-task go with --cluster.")
        return None
    return ClusterOptions(
        address,
        (1, None) if workers is None else parse_workers(workers),
        1 if worker_cpus is None else worker_cpus,
        worker_npus or 0,
        worker_gpus or 0,
        IMAGES_PER_TASK if images_per_task is None else images_per_task,
    )


def run(
    beyond: Beyond,
    request: Request,
    listener: Callable[[int], Listener],
    summary: Summary,
) -> None:
    """Carry out a request.

    Args:
        request: its settings, and its naming where there are only paths.
        listener: makes one, given how many images there are; 0 where that is not known.
        summary: filled in.

    Raises:
        AdnetError: see `run_on_cluster`, `run_pairs` and `denoise_by_chunk`.
    """
    settings, measured = Settings.of(request), ""
    if beyond.cluster is None:  # on a cluster, each worker chooses for its own machine
        settings, measured = settings.settled()
    summary.remarks += filter(None, (*request.remarks(), measured))
    if beyond.goes_by_chunk:
        _run_by_chunk(beyond, settings, listener, summary)
        return
    jobs, summary.found = _plan(beyond, request)
    summary.failed += summary.found.unreadable
    count = len(jobs) if isinstance(jobs, list) else 0
    if beyond.cluster is not None:
        from adnet.runtime.cluster.run import run_on_cluster  # noqa: PLC0415

        run_on_cluster(
            jobs,
            beyond.cluster,
            settings,
            overwrite=beyond.overwrite,
            listener=listener(count),
            summary=summary,
        )
        return
    pairs = list(jobs)
    with settings.open_denoiser() as denoiser:
        try:
            run_pairs(
                pairs,
                denoiser,
                overwrite=beyond.overwrite,
                limits=settings.limits(denoiser),
                listener=listener(len(pairs)),
                summary=summary,
            )
        finally:
            summary.models = denoiser.describe()


def _plan(beyond: Beyond, request: Request) -> tuple[Iterable[Pair], Found]:
    if beyond.is_of_paths:
        plan = request.plan()
        return [Pair(str(job.source), str(job.target)) for job in plan.jobs], plan.found
    return _plan_addresses(beyond)


def _plan_addresses(request: Beyond) -> tuple[Iterable[Pair], Found]:
    if request.jobs is not None:
        if request.inputs:
            raise UsageError("--jobs names the images; leave out INPUTS.")
        rows = read_list(request.jobs, request.output)
        first = next(rows, None)  # a list that cannot be read is told at once
        if first is None:
            raise UsageError(f"{request.jobs}: the list is empty.")
        return chain([first], rows), Found()
    if not request.inputs:
        raise UsageError("give at least one image, folder or address, or a list with --jobs.")
    if request.output is None:
        raise UsageError("say where the results go: --output.")
    return plan_addresses(request.inputs, request.output)


def _run_by_chunk(
    request: Beyond,
    settings: Settings,
    listener: Callable[[int], Listener],
    summary: Summary,
) -> None:
    from adnet.runtime.gigapixel.run import Runner, denoise_by_chunk  # noqa: PLC0415
    from adnet.runtime.gigapixel.work import run_here  # noqa: PLC0415

    runner: Runner = run_here
    if request.cluster is not None:
        from adnet.runtime.cluster.chunks import runner_on  # noqa: PLC0415

        runner = runner_on(request.cluster)
    pairs = _chunked_pairs(request)
    heard = listener(len(pairs))
    begin = time.monotonic()
    for pair in pairs:
        source, target = _whole(pair.source), _whole(pair.target)
        error = None
        report = ImageReport(place_of(pair.source), place_of(pair.target), "written")
        summary.images.append(report)
        try:
            result = denoise_by_chunk(
                source,
                target,
                settings,
                chunk=CHUNK if request.chunk is None else request.chunk,
                overwrite=request.overwrite,
                on_pixels=heard.on_pixels,
                runner=runner,
            )
        except UsageError as err:
            raise type(err)(_as_given(str(err), pair)) from err
        except DeviceLostError:
            raise
        except AdnetError as err:
            error = _as_given(str(err), pair)
            report.status, report.reason = "failed", error
            summary.failed.append((place_of(pair.source), error))
        else:
            if result.is_new:
                summary.written.append(place_of(pair.target))
            else:
                summary.skipped += 1
                report.status, report.reason = "skipped", "the output exists"
            summary.pixels += result.pixels
            summary.notes += [(place_of(pair.source), note) for note in result.notes]
            report.notes = list(result.notes)
            summary.models += [one for one in result.models if one not in summary.models]
        summary.seconds = time.monotonic() - begin
        heard.on_image(Job(place_of(pair.source), place_of(pair.target)), error)


def _chunked_pairs(request: Beyond) -> list[Pair]:
    if request.jobs is not None:
        return list(read_list(request.jobs, request.output))
    if not request.inputs or request.output is None:
        raise UsageError("by chunk: give images, and say where the results go with --output.")
    for place in request.inputs:
        if not _is_there(place):
            raise UsageError(f"{place}: no such file or folder.")
    suffix = storage.suffix_of(request.output)
    is_folder = suffix != ZARR and Path(request.output).is_dir()
    is_file = suffix == ZARR or (FORMATS.get(suffix) == "TIFF" and not is_folder)
    if not is_file and not is_folder and is_suffix_of_file(suffix):
        raise UsageError(
            f"{request.output}: by chunk, only .zarr and .tif are written. For a folder of that "
            "name, make it first."
        )
    if is_file and len(request.inputs) > 1:
        raise UsageError(f"{request.output}: is one image; several inputs need a folder.")
    if is_file:
        return [Pair(request.inputs[0], request.output)]
    pairs = [
        Pair(source, storage.join(request.output, storage.name_of(source)))
        for source in dict.fromkeys(request.inputs)
    ]
    refuse_collisions([(pair.source, pair.target) for pair in pairs], storage.canonical)
    return pairs


def _is_there(place: str) -> bool:
    if not storage.is_address(place):
        return Path(place).exists()
    suffix = storage.suffix_of(place)
    if suffix == ZARR:
        return any(storage.size_of(storage.join(place, name)) is not None for name in _ZARR_NAMES)
    return suffix not in FORMATS or storage.size_of(place) is not None


def _as_given(text: str, pair: Pair) -> str:
    """Put the places as they were given into a message."""
    for place in (pair.source, pair.target):
        text = text.replace(_whole(place), str(place_of(place)))
    return text


def _whole(place: str) -> str:
    """Workers run in other folders."""
    return place if storage.is_address(place) else str(Path(place).absolute())
