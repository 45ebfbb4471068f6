"""Read the body of a request within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from adnet.runtime.serve.answers import Answer, failure


async def read_body(
    chunks: AsyncIterator[bytes], told_length: str | None, most: int, seconds: float
) -> bytes | Answer:
    """Return the body, or the refusal.

    Args:
        chunks: the body as it comes in.
        told_length: the header Content-Length, if there is one.
        most: bytes; what says that it has more is refused before it is read.
        seconds: time until the last byte.
    """
    too_large = failure(413, f"the file is larger than this server takes, {most} bytes.")
    if told_length is not None and (not told_length.isdecimal() or int(told_length[:20]) > most):
        return too_large if told_length.isdecimal() else failure(400, "Content-Length: no number.")
    body = bytearray()

    async def read() -> bool:
        async for chunk in chunks:
            body.extend(chunk)
            if len(body) > most:
                return False
        return True

    try:
        if not await asyncio.wait_for(read(), seconds):
            return too_large
    except asyncio.TimeoutError:
        return failure(408, f"the file did not come in within {seconds:g} s.")
    if not body:
        return failure(400, "the body is empty; send the bytes of an image file as the body.")
    return bytes(body)
