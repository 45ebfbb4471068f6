"""Parity on a device: an OM computes what the ONNX it was made from computes.

Needs no torch and no onnx: pyACL runs the one, ONNX Runtime on the CPU the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet import __version__
from adnet.errors import ParityError, ShapeError, UsageError
from adnet.images.levels import from_levels, to_levels
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.architecture import RECEPTIVE_RADIUS
from adnet.models.files import TITLES, kind_of_file
from adnet.models.om_file import read_om, read_sidecar, sidecar_path
from adnet.models.shipped import pretrained_models
from adnet.runtime.backend import Backend, InputSpec
from adnet.runtime.denoiser import Denoiser

TOLERANCE = 0.01
"""Largest allowed absolute difference, white being 1; simulated float16 stays below a tenth."""

LARGEST_LOSS = 0.02
"""Largest allowed loss of PSNR in dB."""

_INT8_TOLERANCE, _INT8_LOSS = 0.3, 0.3
_DISTINCT = 3  # images in a batch; more are repeated, for the CPU takes seconds for each
_LARGER = (30, 50)  # pixels, by which an image is larger than a model's size: needs tiles

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OmCase:
    """One comparison."""

    what: str
    """`gear`: a batch as it is; `tiled image`: cut, run and put together."""
    shape: tuple[int, int, int, int]
    max_abs_error: float
    delta_psnr: float
    """PSNR of the OM minus that of the ONNX, in dB; mean of a batch."""
    passed: bool


@dataclass(frozen=True, slots=True)
class OmReport:
    """All comparisons of an OM and what they were made with; JSON types only."""

    adnet: str
    om: str
    against: str
    tolerance: float
    largest_loss: float
    is_simulated: bool
    """The tests' stand-in answered, not a device: says nothing of any chip."""
    facts: dict[str, str]
    """What the OM backend tells of the device and the conversion."""
    notes: list[str] = field(default_factory=list)
    cases: list[OmCase] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Every comparison passed."""
        return all(case.passed for case in self.cases)

    def require(self) -> None:
        """Turn a failure into an error.

        Raises:
            ParityError: a difference above the tolerance.
        """
        failed = [case for case in self.cases if not case.passed]
        if failed:
            worst = max(failed, key=lambda case: case.max_abs_error)
            raise ParityError(
                f"{self.om} does not compute what {self.against} does: {len(failed)} of "
                f"{len(self.cases)} comparisons failed; {'x'.join(map(str, worst.shape))} differs "
                f"by {worst.max_abs_error:.3g} (tolerance {self.tolerance:g}), PSNR "
                f"{worst.delta_psnr:+.4f} dB (at most {-self.largest_loss:g}). Try "
                "--precision-mode origin where the chip has float32, and report all of this."
            )


def verify_om(
    om: Path,
    against: Path | None = None,
    *,
    device: str = "npu:0",
    tolerance: float | None = None,
    on_case: Callable[[OmCase], None] = lambda _case: None,
) -> OmReport:
    """Run both at every gear of the OM, and on larger images that are cut into tiles.

    Args:
        om: the OM, with its sidecar OM.json unless `against` is given.
        against: the ONNX; None: the shipped model that the OM was made from.
        tolerance: largest allowed absolute difference; None: `TOLERANCE`, more for int8.
        on_case: gets each comparison when it is made.

    Returns:
        The report; a failed comparison does not raise, `OmReport.require` does.

    Raises:
        UsageError: nothing to compare with, or the ONNX does not take the OM's sizes.
        BackendUnavailable, DeviceError: the OM does not run.
    """
    read_om(om)
    beside = read_sidecar(om)
    made_from = {} if beside is None else beside.facts
    onnx, notes = _original(om, made_from, against)
    int8 = made_from.get("precision") == "int8"
    if tolerance is None:
        tolerance = _INT8_TOLERANCE if int8 else TOLERANCE
    with Denoiser(om, device=device) as denoise, Denoiser(onnx, provider="cpu") as original:
        ours, theirs = denoise.model_for(3), original.model_for(3)
        if theirs.card.channels != ours.card.channels:
            raise UsageError(
                f"{onnx}: has {theirs.card.channels} channels, {om} has {ours.card.channels}."
            )
        if notes and ours.card.weights_sha256 == theirs.card.weights_sha256:
            notes = [f"{notes[0]}, but holds the same weights"]
        facts = ours.describe()
        report = OmReport(
            adnet=__version__,
            om=str(om),
            against=str(onnx),
            tolerance=tolerance,
            largest_loss=_INT8_LOSS if int8 else LARGEST_LOSS,
            is_simulated=facts.get("simulated") == "yes",
            facts=facts,
            notes=notes,
        )
        for what, shape in _plan(ours.spec):
            case = _compare(report, what, shape, _Pair(ours, theirs, denoise, original))
            report.cases.append(case)
            on_case(case)
    return report


@dataclass(frozen=True, slots=True)
class _Pair:
    """The OM and the ONNX, as backends and as denoisers."""

    ours: Backend
    theirs: Backend
    denoise: Denoiser
    original: Denoiser


def _plan(spec: InputSpec) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """List every gear, and two images that need tiles where the model has a size for tiles."""
    for batch, height, width in spec.shapes:
        assert batch is not None  # an OM's shapes are fixed
        assert height is not None
        assert width is not None
        yield "gear", (batch, spec.channels, height, width)
    tiles = [size for size in spec.sizes or () if min(size) > 2 * RECEPTIVE_RADIUS]
    if tiles:
        height, width = min(tiles, key=lambda size: size[0] * size[1])
        down, across = _LARGER
        yield "tiled image", (1, spec.channels, height + down, width + across)
        yield "tiled image", (1, spec.channels, height + across, width)


def _compare(report: OmReport, what: str, shape: tuple[int, int, int, int], pair: _Pair) -> OmCase:
    count, channels, height, width = shape
    knows = pair.ours if pair.ours.card.sigma_range else pair.theirs  # an OM may lack its sidecar
    low, high = knows.card.noise_range()
    clean, noisy, expected = [], [], []
    for seed in range(min(count, _DISTINCT)):
        image = render(height, width, channels, seed)
        seen = add_published_noise(image, (low + high) / 2, seed)
        if pair.ours.spec.dtype == "uint8":  # what such a model is given
            seen = from_levels(to_levels(seen))
        clean.append(_planes(image))
        noisy.append(_planes(seen))
        if what == "gear":
            expected.append(_reference(pair.theirs, noisy[-1], report.against))
        else:
            expected.append(_planes(pair.original(seen)))
    order = [index % len(clean) for index in range(count)]
    if what == "gear":
        got = pair.ours.infer(np.ascontiguousarray(np.concatenate([noisy[i] for i in order])))
    else:
        got = _planes(pair.denoise(np.ascontiguousarray(_image(noisy[0]))))
    wanted = np.concatenate([expected[i] for i in order])
    error = float(np.abs(got - wanted).max())
    loss = [
        psnr(clean[i][0], np.clip(one, 0, 1)) - psnr(clean[i][0], np.clip(expected[i][0], 0, 1))
        for i, one in zip(order, got, strict=True)
    ]
    delta = float(np.mean(loss))
    passed = error <= report.tolerance and delta >= -report.largest_loss  # False for nan
    return OmCase(what, shape, error, delta, passed)


def _reference(backend: Backend, batch: Floats, where: str) -> Floats:
    try:
        return backend.infer(batch)
    except ShapeError as err:
        raise UsageError(
            f"{where}: cannot be compared at the OM's sizes ({err}) Give an ONNX of any size: "
            "adnet-export onnx CHECKPOINT -o FILE.onnx."
        ) from err


def _planes(image: Floats) -> Floats:
    """(H, W) or (H, W, C) to (1, C, H, W)."""
    return np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1)[None], np.float32)


def _image(batch: Floats) -> Floats:
    """The first of (N, C, H, W) as (H, W) or (H, W, C)."""
    return np.asarray(batch[0, 0] if batch.shape[1] == 1 else batch[0].transpose(1, 2, 0))


def _original(om: Path, facts: Mapping[str, Any], against: Path | None) -> tuple[Path, list[str]]:
    """Choose the ONNX and say what is odd about it."""
    digest = facts.get("onnx_sha256")
    if against is None:
        for model in pretrained_models():
            if model.sha256 == digest:
                return model.path, []
        raise UsageError(
            f"{om}: what it was made from is no shipped model"
            + ("" if digest else f", for {sidecar_path(om).name} is not beside it")
            + ". Say it: --against FILE.onnx."
        )
    if (kind := kind_of_file(against)) != "onnx":
        got = "something else" if kind is None else TITLES[kind]
        raise UsageError(f"--against {against}: expected an ONNX file, got {got}.")
    if digest is None or hashlib.sha256(against.read_bytes()).hexdigest() == digest:
        return against, []
    return against, [f"{against.name} is not the file that the OM was made from"]


def table(report: OmReport) -> str:
    """Show a report as text, to be sent as it is."""
    facts = report.facts
    lines = [
        (
            f"adnet {report.adnet}: {report.om} on {facts.get('device')} ({facts.get('soc')}), "
            f"precision {facts.get('precision')}, ATC {facts.get('atc_version')}"
        ),
        f"against {report.against} on ONNX Runtime, CPU, float32",
        *(f"note: {note}" for note in report.notes),
        "",
        f"{'':12} {'shape':>16} {'max abs error':>14} {'delta PSNR':>13}",
    ]
    for case in report.cases:
        shape = "x".join(map(str, case.shape))
        lines.append(
            f"{case.what:12} {shape:>16} {case.max_abs_error:14.2e} {case.delta_psnr:+10.4f} dB"
            f"  {'ok' if case.passed else 'FAILED'}"
        )
    lines += [
        "",
        f"allowed: {report.tolerance:g} and {-report.largest_loss:g} dB",
        *(["SIMULATED: the tests' pyACL answered, not a device."] if report.is_simulated else []),
        "passed" if report.passed else "FAILED",
    ]
    return "\n".join(lines)
