"""What a run of adnet-bench found, part by part; `results_json` reads and writes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from adnet.benchmarks.timing import Interval


@dataclass(frozen=True, slots=True)
class Environment:
    """Where, when and with what a result was made."""

    system: str
    cpu: str
    cores: int
    """That this process may use."""
    governor: str
    """Of the CPU's clock; `unknown` where the system does not say."""
    load_at_start: float | None
    """Processes that ran or waited, mean of a minute; None where the system does not say."""
    versions: dict[str, str]
    """Package -> version."""
    revision: str | None
    """Git commit of adnet; None outside a checkout."""
    command: str
    date: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Roofs of the machine, see `machine.py`."""

    gflop_per_s: float
    """Of a matrix product in float32 on all cores."""
    copy_gb_per_s: float
    """Bytes read and written by a copy in memory, in 1e9 a second."""


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """What was measured: a backend, or a peer, with its model."""

    name: str
    backend: str
    model: str
    """Path."""
    model_sha256: str
    weights_sha256: str
    """Empty where the model does not say."""
    channels: int
    device: str
    precision: str
    is_peer: bool
    is_simulated: bool
    """A simulated device answered: its results are real, its times mean nothing."""
    load_s: float | None = None
    peak_memory_mb: float | None = None
    """Of a process of its own, in 1e6 bytes; this and `load_s` None where it was not measured."""
    facts: dict[str, str] = field(default_factory=dict)
    """What `Backend.describe` says."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the time of one call, in milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class TimesAsFast(Interval):
    """How many times as fast as another candidate in the same rounds."""

    base: str
    """Name of the other."""


@dataclass(frozen=True, slots=True)
class SpeedRecord:
    """One candidate at one batch and size."""

    candidate: str
    batch: int
    size: tuple[int, int]
    """Height and width."""
    calls: int
    latency_ms: Latency
    images_per_s: Interval
    device_only_images_per_s: float | None
    """By the execution alone; None where the backend does not tell."""
    mpix_per_s: float
    gflop_per_s: float
    share_of_peak: float | None
    """Of the machine's matrix product; None where that is no roof for this candidate."""
    times_as_fast: TimesAsFast | None
    """Beside the first candidate; None for itself, and where it has not this batch and size."""
    is_peer: bool
    seconds: tuple[float, ...]
    """Of every call, in the order of the rounds."""


@dataclass(frozen=True, slots=True)
class EndToEndRecord:
    """Files read, denoised and written, as adnet-run does."""

    images: int
    images_per_s: Interval
    mpix_per_s: float
    seconds: tuple[float, ...]
    """Of every round over all images."""


@dataclass(frozen=True, slots=True)
class QualityRecord:
    """One candidate on one data set."""

    candidate: str
    dataset: str
    sigma: float
    """Of the noise, 0 to 255."""
    images: int
    psnr: float
    """In dB, mean over the images."""
    psnr_8_bit: float
    """The same of the results rounded to what a file holds."""
    ssim: float | None
    """None for images that are too small."""
    paper_psnr: float | None
    delta_psnr: float
    """PSNR less that of the reference."""
    is_simulated: bool
    per_image: dict[str, float]
    """Image -> PSNR in dB."""
    reference: str
    """Name of the candidate that the differences are to."""
    largest_difference: float | None
    """Of any value to the reference's, white being 1; None where the first choice of it failed."""
    images_sha256: str = ""
    """Of names and pixels of the clean images; empty in files of adnet 0.2.0 and older."""


@dataclass(frozen=True, slots=True)
class Example:
    """A detail of one image before and after: PNG files in base64."""

    image: str
    candidate: str
    sigma: float
    noisy: str
    denoised: str
    clean: str


@dataclass(frozen=True, slots=True)
class ScalingRecord:
    """Throughput at one place on one axis."""

    axis: str
    """`size`, `batch`, `threads` or `streams`."""
    x: float
    """Megapixels of the image for `size`, else a count."""
    mpix_per_s: Interval
    runs: int
    peak_memory_mb: float | None
    """Of the process, image and result included, in 1e6 bytes; for `size` alone."""
    seconds: tuple[float, ...]
    size: tuple[int, int] | None = None
    """Height and width of the images; None for `size`, and in files of adnet 0.2.0 and older."""


@dataclass(slots=True)
class Result:
    """A run of adnet-bench; its parts are filled in as they are measured."""

    environment: Environment
    machine: Machine | None = None
    candidates: list[CandidateRecord] = field(default_factory=list)
    speed: list[SpeedRecord] = field(default_factory=list)
    end_to_end: dict[str, EndToEndRecord] = field(default_factory=dict)
    """By the candidate's name."""
    quality: list[QualityRecord] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    scaling: list[ScalingRecord] = field(default_factory=list)
    protocol: str = ""
    """How noise was made and quality measured, in words."""
    errors: dict[str, str] = field(default_factory=dict)
    """What failed -> why."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What was not measured -> why."""
    complete: bool = False
    """Whether all that was asked for was measured."""

    @property
    def has_figures(self) -> bool:
        """Whether anything was measured yet."""
        return bool(self.speed or self.end_to_end or self.quality or self.scaling)
