"""How much memory a run may take, and how many bytes of images may be in work at once."""

from __future__ import annotations

import math
import os
import re
import sys
import threading
from pathlib import Path

from adnet.errors import UsageError
from adnet.runtime.host import memory_bytes
from adnet.runtime.planning import DEFAULT_PIXELS

SHARE = 2
"""By default a run takes one part in so many of the free memory beyond what it has."""

_TILE_BYTES = 600
"""Per pixel of a tile, in work memory of the network; measured with ONNX Runtime and torch on a
CPU (540 to 570)."""
_LEAST = 32 << 20
"""For images, so that a band of a narrow one fits."""
_MOST_PIXELS = 1024**2
"""Of all tiles in the network together: larger ones gain next to nothing, halos being 5 % of the
work for an image of 6 megapixels, and would make Ctrl-C wait longer."""
_LEAST_PIXELS = 128**2
_TILE_SHARE = 4
"""By default tiles take at most one part in so many of the free memory."""
_UNKNOWN_FREE = 4 << 30
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class ByteBudget:
    """Keeps a reader from running ahead of the memory.

    An image counts from its reading to its writing, with what the caller expects it to take. One
    may always be in work, so work never stands still; callers refuse what is larger than the limit.

    Args:
        limit: in bytes; None for a share of what is free now.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = free_memory() // SHARE if limit is None else limit
        self.most = 0
        """The most bytes that were in work at once."""
        self._held = 0
        self._open = True
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Wait until there is room for so many bytes, nothing is in work, or the run ends."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._held + count <= self.limit or not self._held or not self._open
            )
            self._held += count
            self.most = max(self.most, self._held)

    def give_back(self, count: int) -> None:
        """Count bytes as free again."""
        with self._changed:
            self._held -= count
            self._changed.notify_all()

    def close(self) -> None:
        """Let every waiting reader go on: the run ends."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


def parse_size(text: str | int) -> int:
    """Read a size such as 500M, 2G, 1.5GiB or a number of bytes; units are powers of 1024.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:I?B)?", str(text).strip().upper())
    if found is None or not 0 < float(found[1]) < math.inf:
        raise UsageError(f"--max-memory: expected a size such as 500M or 2G, got {text!r}.")
    return int(float(found[1]) * _UNITS[found[2]])


def split_memory(
    limit: int, used: int, tile: int | None, at_once: int, fixed: int | None = None
) -> tuple[int, int]:
    """Divide the memory of a run between the network and the images.

    Args:
        limit: of the whole program, in bytes.
        used: by program and model so far.
        tile: what the user asked for.
        at_once: tiles in the network at once: lanes times batch, of each model.
        fixed: pixels of the largest tile of a model of fixed sizes; None where any will do.

    Returns:
        Bytes for images, and the most pixels of a tile.

    Raises:
        UsageError: the limit is too small for any tile.
    """
    each = at_once * _TILE_BYTES
    if fixed is not None or tile is not None:
        least = pixels = fixed if fixed is not None else (tile or 0) ** 2
    else:
        least = _LEAST_PIXELS
        room = (limit - used - max(_LEAST, limit // 4)) // each
        pixels = max(least, min(_wanted_pixels(at_once), room))
    left = limit - used - pixels * each
    if left >= _LEAST:
        return left, pixels
    raise UsageError(
        f"--max-memory {told_size(limit)} is too little: program and model take "
        f"{told_size(used)}, and with the smallest tiles that can be used "
        f"{told_size(used + least * each + _LEAST)} are needed. Give more, or a smaller --batch "
        "or --streams."
    )


def usual_pixels(device: str, at_once: int, free: int | None = None) -> int:
    """Return the most pixels of a tile where no limit was given.

    Args:
        device: such as cpu. The memory of others is not known here: they get 512x512 pixels.
        at_once: tiles in the network at once.
        free: bytes; None: what is free now.
    """
    if device != "cpu":
        return DEFAULT_PIXELS
    free = free_memory() if free is None else free
    room = free // _TILE_SHARE // (at_once * _TILE_BYTES)
    return max(_LEAST_PIXELS, min(_wanted_pixels(at_once), room))


def told_pixels(pixels: int, at_once: int) -> str:
    """Say that tiles are small, and why; nothing where they are not."""
    if pixels >= DEFAULT_PIXELS:
        return ""
    side = math.isqrt(pixels)
    many = f" for {at_once} tiles at once" if at_once > 1 else ""
    return (
        f"little memory is free{many}, so the network sees tiles of about {side}x{side} pixels: "
        f"slower, with the same result. {'--batch, ' * bool(many)}--tile or --max-memory choose "
        "others."
    )


def _wanted_pixels(at_once: int) -> int:
    return max(DEFAULT_PIXELS, _MOST_PIXELS // at_once)


def told_size(count: float) -> str:
    """Write a number of bytes as `parse_size` reads it, rounded up."""
    if count < 1 << 20:
        return f"{count:.0f}"
    if count >= 10 << 30:
        return f"{-(-count // (1 << 30)):.0f}G"
    return f"{-(-count // (1 << 20)):.0f}M"


def used_memory() -> int:
    """Return the resident memory of this process in bytes; its peak where only that is known."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return 200 << 20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def free_memory(root: Path = Path("/")) -> int:
    """Return how many bytes this process may still take: of the machine, or of its container.

    A guess where neither tells. Sources: proc(5), cgroups(7); the kernel's cgroup-v1/memory.rst and
    cgroup-v2.rst.

    Args:
        root: below which proc and sys are.
    """
    found = [_free_of_machine(root), *_free_of_groups(root)]
    known = [one for one in found if one is not None]
    return max(0, min(known)) if known else _UNKNOWN_FREE


def _free_of_machine(root: Path) -> int | None:
    told = memory_bytes(root / "proc")
    if told is not None:
        return told[1]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _free_of_groups(root: Path) -> list[int]:
    """What is left in each control group that this process is in, of either version."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = (
                "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
            )  # fmt: skip
        else:
            continue
        # In a container the path may be the host's: then only the mount's root is there.
        folder = mount / path.lstrip("/")
        for place in (folder, *folder.parents):
            if (left := _left(place, *names)) is not None:
                found.append(left)
            if place == mount:
                break
    return found


def _left(folder: Path, limit: str, used: str, cache: str) -> int | None:
    try:
        most = int((folder / limit).read_text(encoding="ascii"))  # "max" is no number
        now = int((folder / used).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    # Files that were read count as used, but give way.
    reclaimable = re.search(rf"^{cache} (\d+)", stat, re.MULTILINE)
    return most - now + (int(reclaimable[1]) if reclaimable else 0)
