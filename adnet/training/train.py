"""The training loop; every worker runs it."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adnet.errors import AdnetError, TrainingError, UsageError
from adnet.models.card import ModelCard
from adnet.models.checkpoint import Checkpoint
from adnet.provenance import git_revision, versions
from adnet.training.config import TrainConfig
from adnet.training.data import TrainingData, load_training_data, make_batch
from adnet.training.guard import LossGuard
from adnet.training.initial import starting_weights
from adnet.training.learner import Learner
from adnet.training.outcome import require_result
from adnet.training.progress import TrainProgress, describe_start, describe_time
from adnet.training.report import write_report
from adnet.training.run_directory import RunDirectory
from adnet.training.run_log import RunLog
from adnet.training.samples import Samples
from adnet.training.schedule import fraction_done, learning_rate
from adnet.training.stop import stop_on_signal
from adnet.training.validation import validate
from adnet.training.world import World

log = logging.getLogger(__name__)

_AGREE_EVERY = 10
"""Steps between exchanges about time and stopping on an accelerator, where each one waits for the
device. On a CPU, where steps are slow and waiting costs nothing, every step."""


def train(  # noqa: C901, PLR0912, PLR0915  (flat on purpose: reads top to bottom)
    config: TrainConfig,
    run: Path,
    world: World,
    *,
    resume: bool = False,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
) -> Path:
    """Train a network; the run directory is the result (see `RunDirectory`).

    Every random choice of a step depends only on the seed and the step's number, so on the CPU a
    resumed run equals an uninterrupted one bit for bit (with a schedule by steps).

    Args:
        world: this worker among all (`join_world`).
        resume: continue `run` from its last.pth.
        on_progress: called by the main worker alone.

    Returns:
        The path of best.pth.

    Raises:
        TrainingError: bad data, a run that cannot be resumed, or a loss that runs away again and
            again.
        BackendUnavailable: a setting that this device lacks.
        KeyboardInterrupt: after a signal; last.pth is saved.
    """
    directory = RunDirectory(run)
    with world.together():
        directory.check(resume)
        world.rows(config.batch)
        data = load_training_data(config, world.device)
        length = _steps_of(config, data)
        start, whole = starting_weights(config, data, world, directory.last if resume else None)
        learner = Learner(config, world, start, None if whole is None else whole.network)
    guard = LossGuard()
    elapsed_before, best_psnr, origin = 0.0, -math.inf, None
    if start is not None and not resume:
        origin = {"weights_sha256": start.card.weights_sha256, **start.card.training}
    if start is not None and resume:
        state = start.training
        assert state is not None  # checked when loaded
        with world.together():
            _refuse_other_data(state["data_fingerprint"], data, directory.last)
            _refuse_other_origin(state["origin"], whole, directory.last)
        if world.sum(torch.tensor(float(state["step"]), device=world.device)) != (
            state["step"] * world.size
        ):
            raise TrainingError(
                f"{directory.last}: the workers see different checkpoints. The run directory must "
                "lie on a disk that all machines share."
            )
        learner.load_state_dict(state["learner"])
        learner.step = directory.last_step = state["step"]
        guard.load_state_dict(state["guard"])
        elapsed_before, best_psnr, origin = state["elapsed_s"], state["best_psnr"], state["origin"]
        has_best = not math.isnan(best_psnr) and (not world.is_main or directory.has_best())
        if best_psnr != -math.inf and world.any(not has_best):
            log.warning("%s: missing or damaged; the next validation makes it anew", directory.best)
            best_psnr = -math.inf

    if not guard.snapshots:
        guard.keep(learner.state_dict())

    def card() -> ModelCard:
        record = {
            "data": [Path(path).name for path in config.data],
            "data_sha256": data.fingerprint,
            "source": data.description,
            "steps": learner.step,
            "patches": learner.step * config.batch,
            "minutes": round(elapsed / 60, 1),
            "device": _device_name(world),
            "versions": versions("torch", "torch-npu", "numpy"),
            "git_revision": git_revision(),
            "val_psnr": None if val_psnr is None else round(val_psnr, 4),
            "val_sigma": None if config.noise == "pairs" else config.val_sigma,
            "rollbacks": guard.rollbacks,
            "config": config.to_dict(),
        }
        if float_psnr is not None:
            record["float_val_psnr"] = round(float_psnr, 4)
        if origin is not None:
            record["init"] = origin  # where the weights came from
        sigma = None if config.noise == "pairs" else config.sigma
        return ModelCard(config.channels, sigma, training=record)

    def save_last() -> None:
        state = {
            "config": config.to_dict(),
            "data_fingerprint": data.fingerprint,
            "learner": learner.state_dict(),
            "guard": guard.state_dict(),
            "step": learner.step,
            "elapsed_s": elapsed,
            "best_psnr": best_psnr,
            "origin": origin,
        }
        with world.together():
            if world.is_main:
                directory.save_last(learner.averaged.state_dict(), card(), state, config.keep)

    with ExitStack() as stack:
        metrics: RunLog | None = None
        samples: Samples | None = None
        with world.together():
            if world.is_main:
                directory.write_config(config)
                metrics = RunLog(run, learner.step, stack)
                stack.callback(_report, run)  # at any end: it shows what was reached
                samples = Samples(run, data.val_images, config.val_sigma, learner.step)
                if start is not None and not resume:
                    samples.draw(whole.network if whole else learner.averaged, world.device, 0)
        stop = stack.enter_context(stop_on_signal(patient=world.size > 1))
        agree_every = 1 if world.size == 1 or world.device.type == "cpu" else _AGREE_EVERY
        pending: list[Tensor] = []  # losses that are still on the device
        recent: list[float] = []  # losses since the last line of metrics
        began = logged_at = time.monotonic()
        saved_at = elapsed = elapsed_before
        if world.is_main:
            log.info("%s", describe_start(
                config, length, learner.step, device=_device_name(world),
                parameters=sum(weight.numel() for weight in learner.network.parameters()),
                data=f"{data.description}, {len(data.val_images)} for validation",
            ))  # fmt: skip
            if length is not None and config.warmup_steps >= length:
                log.info(
                    "note: the learning rate rises for %d steps (--warmup-steps), the whole run",
                    config.warmup_steps,
                )
            low, high = config.sigma
            if config.noise != "pairs" and not low <= config.val_sigma <= high:
                log.warning(
                    "validated at sigma %g, which is not trained for (%g to %g): best.pth "
                    "may not be the best there", config.val_sigma, low, high,
                )  # fmt: skip
        loss: float | None = None
        val_psnr: float | None = None
        float_psnr: float | None = None  # of the network that is quantised
        rate, logged_step = 0.0, learner.step
        can_resume = resume

        def judge_losses() -> None:
            """Fetch the losses of the last steps; go back to earlier weights when they ran away."""
            if not pending:
                return
            fresh = (world.sum(torch.stack(pending)) / world.size).tolist()
            pending.clear()
            recent.extend(fresh)
            if guard.ran_away(learner.step, fresh):
                learner.load_state_dict(guard.go_back())
                log.warning(
                    "step %d: the loss ran away to %.3g; back to earlier weights, learning rate "
                    "times %g from now on", learner.step, fresh[-1], guard.rate_factor,
                )  # fmt: skip
                if metrics:
                    metrics.write(
                        learner.step, rollback=guard.rollbacks, lr_factor=guard.rate_factor
                    )
            elif guard.wants_snapshot(learner.step):
                guard.keep(learner.state_dict())

        def newest_loss() -> float | None:
            """Mean of the losses since the last line of metrics, without waiting for a device."""
            if recent:
                return sum(recent) / len(recent)
            if loss is None and pending and world.device.type == "cpu":
                return float(pending[-1])  # steps may take minutes: better this worker's than none
            return loss

        while True:
            fraction = fraction_done(config, length, learner.step, elapsed)
            finished = fraction >= 1
            if learner.step and (finished or learner.step % config.val_every == 0):
                judge_losses()
                if not can_resume:  # a run that is killed with a best.pth can be resumed
                    save_last()
                    can_resume = True
                val_psnr = validate(learner.averaged, data.val_images, config.val_sigma, world)
                if whole is not None and float_psnr is None:
                    float_psnr = validate(whole.network, data.val_images, config.val_sigma, world)
                if metrics and samples:
                    metrics.write(learner.step, val_psnr=val_psnr)
                    pictures = samples.draw(learner.averaged, world.device, learner.step)
                    metrics.write_pictures(learner.step, pictures)
                    log.info("step %d: validation PSNR %.3f dB", learner.step, val_psnr)
                # What is no number is better than no file, and worse than any number.
                if val_psnr > best_psnr or best_psnr == -math.inf:
                    best_psnr = -math.inf if math.isnan(val_psnr) else val_psnr
                    with world.together():
                        if world.is_main:
                            directory.save_best(learner.averaged.state_dict(), card())
            if finished:
                break

            lr = learning_rate(config, learner.step, fraction) * guard.rate_factor
            noisy, clean = make_batch(config, data, world, learner.step)
            pending.append(learner.learn(noisy, clean, lr))

            agreed = False
            if learner.step % agree_every == 0:
                elapsed = elapsed_before + time.monotonic() - began
                agreed, elapsed = world.agree(stop.requested, elapsed)
            save_due = elapsed - saved_at > 60 * config.save_minutes or (
                config.save_every is not None and learner.step % config.save_every == 0
            )
            log_due = learner.step % config.log_every == 0
            if log_due or save_due or agreed or guard.block_ends(learner.step):
                judge_losses()
            if log_due and recent:
                now = time.monotonic()
                loss = sum(recent) / len(recent)
                rate = (learner.step - logged_step) * config.batch / (now - logged_at)
                values = {"loss": loss, "lr": lr, "patches_per_s": rate, "elapsed_s": elapsed}
                if learner.scaler:
                    values |= {"scale": learner.scaler.scale, "skipped": learner.scaler.skipped}
                if metrics:
                    metrics.write(learner.step, **values)
                recent.clear()
                logged_at, logged_step = now, learner.step
            if save_due or agreed:
                save_last()
                saved_at = elapsed
            if world.is_main:
                now_rate = rate or (learner.step - logged_step) * config.batch / max(
                    1e-9, time.monotonic() - logged_at
                )
                on_progress(
                    TrainProgress(fraction, learner.step, now_rate, newest_loss(), val_psnr)
                )
            if agreed:
                raise KeyboardInterrupt
        save_last()
        require_result(val_psnr, best_psnr, learner.step, learner.learned, directory.best)
        if world.is_main:
            if float_psnr is not None and val_psnr is not None:
                log.info(
                    "int8 against the float network as it came, %.3f dB: %+.3f dB. (Part of a gain "
                    "may be the training, and not int8: fine-tune a float one alike to know.)",
                    float_psnr, val_psnr - float_psnr,
                )  # fmt: skip
            log.info(
                "done: step %d after %s, validation PSNR %.3f dB; the best, %.3f dB, is in %s",
                learner.step, describe_time(elapsed), val_psnr, best_psnr, directory.best,
            )  # fmt: skip
    return directory.best


def _report(run: Path) -> None:
    """Write the page of the run; whatever happens to it must not hide how the run ended."""
    try:
        write_report(run)
    except (AdnetError, OSError, ValueError, KeyError) as err:
        log.warning("%s: no report was written: %s", run, err)


def _steps_of(config: TrainConfig, data: TrainingData) -> int | None:
    """Length of the run in steps, None when only time ends it."""
    if config.epochs is None:
        return config.steps
    assert data.sampler.patches_per_epoch is not None  # checked when loaded: a store
    return config.epochs * max(1, data.sampler.patches_per_epoch // config.batch)


def _refuse_other_data(expected: str, data: TrainingData, checkpoint: Path) -> None:
    if data.fingerprint != expected:
        raise UsageError(
            f"{checkpoint}: the run to resume was made with other images (fingerprint "
            f"{expected[:12]}, now {data.fingerprint[:12]}). Use the same data, or start a new run "
            "with --init."
        )


def _refuse_other_origin(
    expected: Mapping[str, Any] | None, whole: Checkpoint | None, checkpoint: Path
) -> None:
    """Make sure that a resumed int8 run goes on learning from the same float network."""
    if whole is None or expected is None:
        return
    if expected["weights_sha256"] != whole.card.weights_sha256:
        raise UsageError(
            f"{checkpoint}: the run to resume began with other weights than --init has now (SHA-256"
            f" {expected['weights_sha256'][:12]}, now {whole.card.weights_sha256[:12]})."
        )


def _device_name(world: World) -> str:
    device = world.device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "npu":
        name = str(import_module("torch_npu").npu.get_device_name(device))
    else:
        name = f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
    return name if world.size == 1 else f"{world.size} x {name}"
