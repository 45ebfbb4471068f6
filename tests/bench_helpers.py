"""Results of adnet-bench for tests, made up or of a small run."""

import dataclasses
from pathlib import Path

from adnet.benchmarks.results import (
    CandidateRecord,
    EndToEndRecord,
    Environment,
    Latency,
    QualityRecord,
    Result,
    ScalingRecord,
    SpeedRecord,
)
from adnet.benchmarks.timing import rate

ENVIRONMENT = Environment(
    system="s", cpu="x", cores=2, governor="g", load_at_start=0.1, versions={}, revision=None,
    command="adnet-bench", date="2026-01-01T00:00:00+00:00",
)  # fmt: skip

SAMPLES = Path(__file__).parent / "samples"


def empty_result(**environment) -> Result:
    return Result(dataclasses.replace(ENVIRONMENT, **environment))


def candidate_record(name):
    return CandidateRecord(
        name=name, backend=name, model="m.onnx", model_sha256="f", weights_sha256="w", channels=1,
        device="cpu", precision="fp32", is_peer=False, is_simulated=False,
    )  # fmt: skip


def speed_record(candidate, seconds, is_peer=False):
    return SpeedRecord(
        candidate=candidate, batch=1, size=(4, 5), calls=len(seconds),
        latency_ms=Latency(1.0, 2.0, 3.0), images_per_s=rate(seconds, 1),
        device_only_images_per_s=None, mpix_per_s=1.0, gflop_per_s=1.0, share_of_peak=None,
        times_as_fast=None, is_peer=is_peer, seconds=tuple(seconds),
    )  # fmt: skip


def quality_record(candidate, psnr):
    return QualityRecord(
        candidate=candidate, dataset="BSD68", sigma=25.0, images=1, psnr=psnr, psnr_8_bit=psnr,
        ssim=None, paper_psnr=None, delta_psnr=0.0, is_simulated=False, per_image={"a": psnr},
        reference=candidate, largest_difference=None,
    )  # fmt: skip


def end_to_end_record(images, seconds):
    return EndToEndRecord(images, rate(seconds, images), 1.0, tuple(seconds))


def scaling_record(axis, x, seconds, mpix):
    return ScalingRecord(axis, x, rate(seconds, mpix), len(seconds), None, tuple(seconds))
