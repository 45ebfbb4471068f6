"""What a training run says of itself while it runs: to a display, and in words to the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from adnet.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """What a progress display needs; sent after every step."""

    fraction: float
    """Share of the run that is done, in 0..1."""
    step: int
    patches_per_s: float
    loss: float | None
    """Mean of the last losses that are known; None before the first."""
    val_psnr: float | None
    """In dB; None before the first validation."""

    def describe(self) -> str:
        """Say it in a few words, what is not known yet left out."""
        parts = [f"step {self.step}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.5f}")
        parts.append(f"{self.patches_per_s:.{0 if self.patches_per_s >= 10 else 1}f} patches/s")
        if self.val_psnr is not None:
            parts.append(f"PSNR {self.val_psnr:.2f} dB")
        return ", ".join(parts)


class ProgressLines:
    """A line now and then, for logs and pipes, where a bar that redraws itself is of no use.

    Args:
        write: gets each line.
        interval_s: least time between two lines, and before the first.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._interval_s, self._clock = write, interval_s, clock
        self._written_at = clock()
        self._first: tuple[float, float] | None = None  # time and fraction of the first step seen

    def show(self, progress: TrainProgress) -> None:
        """Write a line when the last one is old enough."""
        now = self._clock()
        if self._first is None:
            self._first = now, progress.fraction
        if now - self._written_at < self._interval_s:
            return
        self._written_at = now
        # From what this process did: a resumed run may go on at another speed.
        seconds, done = now - self._first[0], progress.fraction - self._first[1]
        left = ""
        if done > 0 and seconds > 0:
            left = f", {describe_time(seconds * (1 - progress.fraction) / done)} left"
        self._write(f"{100 * progress.fraction:.1f} %: {progress.describe()}{left}")


def describe_start(
    config: TrainConfig, steps: int | None, step: int, *, device: str, parameters: int, data: str
) -> str:
    """Say what is about to be trained, in one line.

    Args:
        steps: length of the run in steps; None when only time ends it.
        step: the step to go on from, 0 for a new run.
        parameters: of the network, in numbers.
        data: what is learned from and validated on.
    """
    low, high = config.sigma
    noise = "pairs" if config.noise == "pairs" else f"sigma {low:g}"
    if config.noise != "pairs" and low != high:
        noise += f"-{high:g}"
    start = "" if config.init is None else f" from {config.to_dict()['init']}"
    lengths = [] if steps is None else [f"{steps} steps"]
    if config.max_minutes is not None:
        lengths.append(f"{config.max_minutes:g} minutes")
    planes = "gray" if config.channels == 1 else "colour"
    resumed = f", going on from step {step}" if step else ""
    return (
        f"training ADNet ({planes}, {noise}, {parameters} parameters){start} on {device}, "
        f"{config.precision}; {data}; {' or '.join(lengths)} of {config.batch} patches of "
        f"{config.patch}x{config.patch}{resumed}"
    )


def describe_time(seconds: float) -> str:
    """Say a time with the two units that matter: `41 s`, `12 min 05 s`, `3 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
