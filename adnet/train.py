"""Train ADNet on one device: one flat train() loop."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from adnet import __version__
from adnet.atomic import atomic_path
from adnet.card import ModelCard
from adnet.checkpoint import load_checkpoint, save_checkpoint
from adnet.device import resolve_device
from adnet.errors import TrainingError, UsageError
from adnet.evaluate import Float32, evaluate, mean_psnr
from adnet.model import ADNet
from adnet.run_log import RunLog
from adnet.train_config import TrainConfig, refuse_changes
from adnet.training_data import load_training_data

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """What a progress display needs; sent after every step."""

    fraction: float
    step: int
    patches_per_s: float
    loss: float | None
    val_psnr: float | None


def train(  # noqa: C901, PLR0912, PLR0915  (flat on purpose: reads top to bottom)
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
) -> Path:
    """Train a network; the run directory is the result.

    It holds config.json, last.pth (to resume), best.pth (highest validation PSNR, averaged
    weights), metrics.jsonl and TensorBoard events. Every random choice of a step depends only on
    the seed and the step's number, so on the CPU a resumed run equals an uninterrupted one bit
    for bit (with a schedule by steps).

    Args:
        resume: continue `run` from its last.pth.

    Returns:
        The path of best.pth.

    Raises:
        TrainingError: bad data, a run that cannot be resumed, or a loss that is not finite.
        BackendUnavailable: the device cannot be used.
        KeyboardInterrupt: after last.pth was saved.
    """
    device = resolve_device(config.device)
    last, best = run / "last.pth", run / "best.pth"
    if last.exists() and not resume:
        raise UsageError(
            f"{run}: holds a training run. Add --resume to go on, or choose another -o."
        )
    if resume and not last.exists():
        raise UsageError(f"{run}: nothing to resume, last.pth is missing.")

    data = load_training_data(config, device)
    torch.manual_seed(config.seed)
    source = last if resume else Path(config.init) if config.init else None
    start = load_checkpoint(source) if source else None
    if start is not None and start.network.channels != config.channels:
        raise TrainingError(
            f"{source}: has {start.network.channels} channels, the run {config.channels}."
        )
    averaged = (start.network if start is not None else ADNet(config.channels)).to(device).eval()
    # Measured: channels_last is what tensor cores want, and a tenth slower on a CPU.
    on_cpu = device.type == "cpu"
    memory_format = torch.contiguous_format if on_cpu else torch.channels_last
    network = ADNet(config.channels).to(device).train()
    network.to(memory_format=memory_format)  # type: ignore[call-overload]
    network.load_state_dict(averaged.state_dict())
    if config.freeze_norm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    fused = device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=fused)
    step, elapsed_before, best_psnr = 0, 0.0, -math.inf
    if resume:
        assert start is not None  # loaded above
        if start.training is None:
            raise TrainingError(f"{last}: holds weights only, no training state to resume.")
        state = start.training
        refuse_changes(state["config"], config, last)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed_before, best_psnr = state["step"], state["elapsed_s"], state["best_psnr"]
    forward = torch.compile(network) if config.compile else network

    def snapshot_card(psnr: float | None) -> ModelCard:
        low, high = config.sigma
        record = {
            "data": [Path(folder).name for folder in config.data],
            "source": data.description,
            "steps": step,
            "patches": step * config.batch,
            "minutes": round(elapsed / 60, 1),
            "device": _device_name(device),
            "versions": {"adnet": __version__, "torch": torch.__version__},
            "val_psnr": None if psnr is None else round(psnr, 4),
            "val_sigma": config.val_sigma,
            "config": dataclasses.asdict(config),
        }
        if start is not None and config.init:
            # Where the weights came from, which a resumed run has on record already.
            origin = {"weights_sha256": start.card.weights_sha256, **start.card.training}
            record["init"] = start.card.training["init"] if resume else origin
        return ModelCard(config.channels, (float(low), float(high)), training=record)

    def save_last() -> None:
        state = {
            "config": dataclasses.asdict(config),
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "elapsed_s": elapsed,
            "best_psnr": best_psnr,
        }
        save_checkpoint(last, averaged.state_dict(), snapshot_card(val_psnr), state)

    with ExitStack() as stack:
        run.mkdir(parents=True, exist_ok=True)
        with atomic_path(run / "config.json") as path:
            path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        metrics = RunLog(run, step, stack)
        noise_generator = torch.Generator(device)
        choice_generator = torch.Generator()
        loss_sum = torch.zeros((), device=device)
        began = logged_at = saved_at = time.monotonic()
        elapsed, logged_step = elapsed_before, step
        loss_value: float | None = None
        val_psnr: float | None = None
        rate = 0.0
        try:
            while True:
                fraction = _fraction_done(config, step, elapsed)
                finished = fraction >= 1
                if step and (finished or step % config.val_every == 0):
                    val_psnr = _validate(averaged, data.val_images, config.val_sigma, device)
                    metrics.write(step, val_psnr=val_psnr)
                    log.info("step %d: validation PSNR %.3f dB", step, val_psnr)
                    if val_psnr > best_psnr:
                        best_psnr = val_psnr
                        save_checkpoint(best, averaged.state_dict(), snapshot_card(val_psnr))
                if finished:
                    break

                # One step. Its random numbers depend on the seed and the step's number alone.
                choice_generator.manual_seed(config.seed * 1_000_003 + step)
                noise_generator.manual_seed(config.seed * 1_000_003 + step)
                clean = data.sampler.sample(config.batch, choice_generator).float().div_(255)
                low, high = config.sigma
                sigma = torch.rand(config.batch, generator=choice_generator) * (high - low) + low
                noise = torch.empty_like(clean).normal_(generator=noise_generator)
                noisy = clean + noise * (sigma / 255).to(device)[:, None, None, None]
                lr = _learning_rate(config, step, fraction)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=config.precision == "bf16"
                ):
                    denoised = forward(noisy.contiguous(memory_format=memory_format))
                loss = nn.functional.mse_loss(denoised.float(), clean)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
                optimizer.step()
                loss_sum += loss.detach()
                step += 1
                _average(averaged, network, min(config.ema, step / (step + 10)))

                now = time.monotonic()
                elapsed = elapsed_before + now - began
                if step % config.log_every == 0:
                    # The only place that waits for the device.
                    loss_value = loss_sum.item() / (step - logged_step)
                    if not math.isfinite(loss_value):
                        raise TrainingError(
                            f"step {step}: the loss is {loss_value}. The last good state is in "
                            f"{last}; resume with a lower --lr."
                        )
                    now = time.monotonic()
                    rate = (step - logged_step) * config.batch / (now - logged_at)
                    metrics.write(
                        step, loss=loss_value, lr=lr, patches_per_s=rate, elapsed_s=elapsed
                    )
                    loss_sum.zero_()
                    logged_at, logged_step = now, step
                    if now - saved_at > 60 * config.save_minutes:
                        save_last()
                        saved_at = now
                on_progress(TrainProgress(fraction, step, rate, loss_value, val_psnr))
        except KeyboardInterrupt:
            save_last()
            raise
        save_last()
    return best


def _fraction_done(config: TrainConfig, step: int, elapsed_s: float) -> float:
    by_steps = step / config.steps if config.steps else 0.0
    by_time = elapsed_s / (60 * config.max_minutes) if config.max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def _learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """Linear warm-up by steps, then a cosine over the rest of the run."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    cosine = (1 + math.cos(math.pi * fraction)) / 2
    return config.lr * warmup * (config.final_lr_ratio + (1 - config.final_lr_ratio) * cosine)


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the network's."""
    old, new = averaged.state_dict(), network.state_dict()
    for name, value in old.items():
        if value.is_floating_point():
            value.lerp_(new[name], 1 - decay)
        else:
            value.copy_(new[name])


def _validate(
    network: nn.Module, images: list[Float32], sigma: float, device: torch.device
) -> float:
    """Mean PSNR in dB of the averaged network under the published noise protocol."""

    @torch.inference_mode()
    def denoise(noisy: Float32) -> Float32:
        planes = torch.from_numpy(np.atleast_3d(noisy)).to(device).permute(2, 0, 1)[None]
        result: Float32 = network(planes)[0].permute(1, 2, 0).cpu().numpy().reshape(noisy.shape)
        return result

    return mean_psnr(evaluate(denoise, images, sigma))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
    return str(device)
