"""Images that come twice: used once, and never to train on and to validate with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np

from adnet.data.held_out import UInt8
from adnet.errors import UsageError

_log = logging.getLogger(__name__)

Item = TypeVar("Item")

_BYTES = hashlib.sha256().digest_size


def pixel_key(*arrays: UInt8) -> bytes:
    """Make a key that is the same for the same pixels in the same shape, array by array.

    Args:
        arrays: the clean image last, where there is a noisy one, too.
    """
    digests = []
    for array in arrays:
        digest = hashlib.sha256(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
        digests.append(digest.digest())
    return b"".join(digests)


def distinct(
    items: Iterable[Item], key: Callable[[Item], bytes], what: str = "images"
) -> dict[bytes, Item]:
    """Return the items by their `pixel_key`, in order; what equals an earlier one is left out.

    The log says how many those are.
    """
    found: dict[bytes, Item] = {}
    count = 0
    for item in items:
        count += 1
        found.setdefault(key(item), item)
    if len(found) < count:
        _log.warning(
            "%d of %d %s equal others pixel for pixel: each is used once",
            count - len(found), count, what,
        )  # fmt: skip
    return found


def refuse_shared(training: Mapping[bytes, object], validation: Mapping[str, bytes]) -> None:
    """Make sure that nothing is trained on that is validated with.

    Args:
        training: by `pixel_key`; what it holds is told by its name.
        validation: name -> `pixel_key`.

    Raises:
        UsageError: clean images are in both.
    """
    clean = {key[-_BYTES:]: name for key, name in training.items()}
    shared = [name for name, key in validation.items() if key[-_BYTES:] in clean]
    if not shared:
        return
    same = clean[validation[shared[0]][-_BYTES:]]
    names = ", ".join(shared[:3]) + (" ..." if len(shared) > 3 else "")
    raise UsageError(
        f"--val: {len(shared)} of {len(validation)} validation images are trained on, too: "
        f"{names}; the first is {same}, pixel for pixel. Such a validation tells nothing. Take "
        "them out of one of the two, or leave --val out: then some of the training images are held "
        "out."
    )
