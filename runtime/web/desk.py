"""Where orders wait for the one worker."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from adnet.runtime.denoiser import Denoiser
from adnet.runtime.web.store import FullError, Limits
from adnet.runtime.web.work import Order, Settings, carry_out


class Desk:
    """Takes orders and carries them out one after the other, in a thread of its own.

    One at a time, because a denoiser uses all cores already. The last denoiser stays open for
    orders with the same settings.

    Args:
        models: what is offered, by name.
        limits: pixels, and the length of the queue.
    """

    def __init__(self, models: Mapping[str, Path], limits: Limits) -> None:
        self.models = dict(models)
        self._limits = limits
        self._waiting: deque[Order] = deque()
        self._running: Order | None = None
        self._opened: tuple[Settings, Denoiser] | None = None
        self._changed = threading.Condition()
        self._closed = False
        # A daemon: ending the program must not wait for a tile that is in work.
        threading.Thread(target=self._work, name="denoise", daemon=True).start()

    def take(self, order: Order) -> None:
        """Put an order at the end of the queue.

        Raises:
            FullError: the queue has no room.
        """
        with self._changed:
            if len(self._waiting) >= self._limits.queue:
                raise FullError(
                    f"{len(self._waiting)} orders are waiting already; try again in a moment."
                )
            self._waiting.append(order)
            self._changed.notify()

    def cancel(self, order: Order) -> None:
        """Stop an order, at its next tile where it is in work."""
        with self._changed:
            order.stop.set()
            with suppress(ValueError):
                self._waiting.remove(order)
                order.state = "cancelled"

    def drop(self, order: Order, folder: Path) -> None:
        """Stop an order and remove a folder that it writes to: again when it no longer does."""
        self.cancel(order)
        with self._changed:
            if self._running is order:
                order.leftover = folder
        shutil.rmtree(folder, ignore_errors=True)

    def ahead(self, order: Order) -> int:
        """Count the orders that come before this one."""
        with self._changed:
            if order not in self._waiting:
                return 0
            return self._waiting.index(order) + (self._running is not None)

    def close(self) -> None:
        """Stop everything; does not wait for it."""
        with self._changed:
            self._closed = True
            for order in [*self._waiting, *filter(None, [self._running])]:
                order.stop.set()
            self._waiting.clear()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    break
                order = self._running = self._waiting.popleft()
            carry_out(order, self._open_for, self._limits.pixels)
            with self._changed:
                self._running = None
            if order.leftover is not None:
                shutil.rmtree(order.leftover, ignore_errors=True)
        if self._opened is not None:
            self._opened[1].close()

    def _open_for(self, settings: Settings) -> Denoiser:
        if self._opened is not None and self._opened[0] == settings:
            return self._opened[1]
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None
        denoiser = settings.open(self.models)
        self._opened = (settings, denoiser)
        return denoiser
