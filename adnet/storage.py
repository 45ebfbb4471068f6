"""Files that lie elsewhere: object stores and other file systems, by their fsspec address.

An address is `SCHEME://...`, such as `s3://bucket/folder/image.png`; everything else is a path of
this machine. S3 is tested; others (gs, hdfs, ...) go the same way with their fsspec package.

A file appears whole or not at all. On an object store that is one PUT of finished bytes: a stream
that is left by an exception publishes the half object. Where files have names that can be changed,
it is a temporary name first, then a move.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from adnet.atomic import write_atomically
from adnet.errors import AdnetError, ImageError, UsageError
from adnet.extras import install_extra

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_WHOLE_PUT = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "obs", "memory"}
)
"""Schemes whose objects appear at the end of an upload, and not before."""
_SCHEMES = {"s3a": "s3", "gcs": "gs", "local": "file"}
"""Other names of a store."""
_PROBE = ".adnet-probe"
_BLOCK = 1 << 20
"""Bytes that are asked for at once where a file is read here and there."""
_FEW, _AT_ONCE = 100, 8
"""Objects that are asked for one by one, and how many at a time."""
_STREAMED = 64 << 20
"""Bytes from which a file is uploaded in parts, without being in memory as a whole."""

_VERSIONS = (
    "etag", "md5hash", "contentmd5", "md5", "crc32c", "checksum", "digest", "generation",
    "mtime", "lastmodified", "modified", "updated", "modificationtime", "created",
)  # fmt: skip
"""What tells that a file was replaced, in the words of fsspec's stores; the best first."""

State = tuple[int, str]
"""The bytes of a file; and its ETag, sum or time of change: empty where the store tells none."""


def is_address(text: str | Path) -> bool:
    """Tell whether this is `SCHEME://...` and not a path of this machine."""
    return _ADDRESS.match(str(text)) is not None


def join(base: str, relative: str) -> str:
    """Return the address or path of something below `base`."""
    if is_address(base):
        return f"{base.rstrip('/')}/{relative}"
    return str(Path(base, relative))


def name_of(place: str) -> str:
    """Return the last part of an address or path."""
    return PurePosixPath(place).name if is_address(place) else Path(place).name


def suffix_of(place: str) -> str:
    """Return the suffix in lower case, with its dot."""
    return PurePosixPath(name_of(place)).suffix.lower()


def folder_of(place: str) -> str:
    """Return what an address or path lies in."""
    return place.rstrip("/").rpartition("/")[0] if is_address(place) else str(Path(place).parent)


def canonical(place: str) -> str:
    """Return one text for all names of a file or folder: links, schemes of one store."""
    path = place
    if is_address(place):
        scheme, _, path = place.partition("://")
        scheme = _SCHEMES.get(scheme, scheme)
        if scheme != "file":
            return f"{scheme}://{path.rstrip('/')}"
    return os.path.normcase(os.path.realpath(path))


def size_of(place: str) -> int | None:
    """Return the bytes of a file; None where there is none.

    Raises:
        UsageError: the store cannot be asked.
    """
    if not is_address(place):
        path = Path(place)
        return path.stat().st_size if path.is_file() else None
    with _told(place, "be looked at", UsageError):
        system, path_there = _open(place)
        try:
            about = system.info(path_there)
        except FileNotFoundError:
            return None
        return int(about.get("size") or 0) if about["type"] == "file" else None


def state_of(place: str) -> State | None:
    """Return what changes when a file is replaced; None where there is none.

    Raises:
        UsageError: the store cannot be asked.
    """
    with _told(place, "be looked at", UsageError):
        if not is_address(place):
            path = Path(place)
            return _local_state(path) if path.is_file() else None
        system, path_there = _open(place)
        try:
            about = system.info(path_there)
        except FileNotFoundError:
            return None
        return _state(about) if about["type"] == "file" else None


def states_below(folder: str) -> Iterator[tuple[str, State]]:
    """Yield the relative name and the state of each file below a place, sorted by folder and name.

    It takes one listing (S3: a request for every 1000 objects), or a look at each local file.

    Raises:
        UsageError: the store cannot be listed.
    """
    if is_address(folder):
        for name, about in _list(folder):
            yield name, _state(about)
        return
    with _told(folder, "be listed", UsageError):
        for root, folders, names in os.walk(folder, followlinks=True):
            folders.sort()
            for name in sorted(names):
                path = Path(root, name)
                yield path.relative_to(folder).as_posix(), _local_state(path)


def list_files(folder: str) -> dict[str, int]:
    """List all files below an address in one listing.

    Returns:
        The relative name of each, sorted, and its bytes; empty where nothing is there.

    Raises:
        UsageError: the store cannot be listed.
    """
    return {name: int(about.get("size") or 0) for name, about in _list(folder)}


def existing(places: Iterable[str]) -> set[str]:
    """Find out which of many files exist, with one listing for each bucket or folder.

    Up to 100 objects are asked for one by one: what else lies in their bucket may be much more.

    Raises:
        UsageError: a store cannot be listed.
    """
    stores: dict[str, list[str]] = defaultdict(list)
    folders: dict[str, list[str]] = defaultdict(list)
    for place in places:
        if is_address(place):
            scheme, _, rest = place.partition("://")
            stores[f"{scheme}://{rest.partition('/')[0]}"].append(place)
        else:
            folders[str(Path(place).parent)].append(place)
    found = set()
    for members in stores.values():
        if len(members) <= _FEW:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                sizes = pool.map(size_of, members)
                found |= {
                    place for place, size in zip(members, sizes, strict=True) if size is not None
                }
            continue
        base = _common_folder(members)
        there = {join(base, name) for name in list_files(base)}
        found |= there.intersection(members)
    for folder, members in folders.items():
        with suppress(FileNotFoundError, NotADirectoryError):
            there = {entry.name for entry in Path(folder).iterdir()}
            found |= {place for place in members if Path(place).name in there}
    return found


def read(place: str) -> bytes:
    """Read a whole file.

    Raises:
        ImageError: it is not there or cannot be read.
    """
    with _told(place, "be read", ImageError):
        if not is_address(place):
            return Path(place).read_bytes()
        system, path = _open(place)
        return bytes(system.cat_file(path))


def fetch(address: str, path: Path) -> None:
    """Copy a file from elsewhere to this machine.

    Raises:
        ImageError: it is not there or cannot be read.
    """
    with _told(address, "be read", ImageError):
        system, there = _open(address)
        system.get_file(there, str(path))


def open_for_reading(address: str) -> Any:
    """Open a file elsewhere as one that can be read at any place.

    Raises:
        ImageError: it is not there or cannot be read.
    """
    with _told(address, "be read", ImageError):
        system, path = _open(address)
        return system.open(path, "rb", block_size=_BLOCK)


def put(place: str, data: bytes) -> None:
    """Write a whole file, or none.

    Raises:
        ImageError: it cannot be written.
    """
    with _told(place, "be written", ImageError):
        if not is_address(place):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(Path(place), data)
            return
        system, path = _open(place)
        with _whole(system, place, path) as name:
            system.pipe_file(name, data)
            _require_size(system, name, len(data))


def put_file(address: str, path: Path) -> None:
    """Copy a file of this machine to an address, whole or not at all.

    Raises:
        ImageError: it cannot be written.
    """
    if path.stat().st_size < _STREAMED:
        put(address, path.read_bytes())
        return
    with _told(address, "be written", ImageError):
        system, there = _open(address)
        with _whole(system, address, there) as name:
            system.put_file(str(path), name)
            _require_size(system, name, path.stat().st_size)


def require_writable(folder: str) -> None:
    """Put a small file into a place and take it out.

    Raises:
        UsageError: it cannot be written to.
    """
    address = join(folder, _PROBE)
    try:
        put(address, b"")
    except ImageError as err:
        raise UsageError(f"{folder}: the output cannot be written: {err}") from err
    with suppress(Exception):  # there are stores that let one write, but not delete
        system, path = _open(address)
        system.rm_file(path)


def _list(folder: str) -> list[tuple[str, dict[str, Any]]]:
    """List what is below an address: relative names, sorted, and what the store tells of each."""
    with _told(folder, "be listed", UsageError):
        system, base = _open(folder)
        base = base.rstrip("/")
        try:
            found = system.find(base, detail=True)
        except FileNotFoundError:
            return []
        return [
            (name[len(base) :].lstrip("/"), about)
            for name, about in sorted(found.items())
            if about["type"] == "file" and not name.endswith("/") and name != base
        ]


def _state(about: dict[str, Any]) -> State:
    """Read a state out of what a store tells of a file; each has its own words.

    A sum of the contents is better than a time, which a copy of the same file changes, too.
    """
    told = {re.sub("[^a-z0-9]", "", name.lower()): value for name, value in about.items()}
    version = next((str(told[name]) for name in _VERSIONS if told.get(name) is not None), "")
    return int(about.get("size") or 0), version


def _local_state(path: Path) -> State:
    about = path.stat()
    return about.st_size, str(about.st_mtime_ns)


def _open(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        UsageError: its package is not installed, or nobody knows the scheme.
    """
    scheme = address.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        # A listing must show what other programs wrote a moment ago.
        system, path = url_to_fs(address, use_listings_cache=False)
    except ImportError as err:
        extra = install_extra("s3")
        told = f"({err})" if scheme not in ("s3", "s3a") else ""
        raise UsageError(
            f"{address}: {scheme}:// addresses need a package that is not installed {told}. "
            f"For S3: {extra}; for others, the fsspec package of that store."
        ) from err
    except ValueError as err:
        raise UsageError(f"{address}: {err}. Give a path, or an address such as s3://.") from err
    return system, path


@contextmanager
def _whole(system: Any, address: str, path: str) -> Iterator[str]:
    """Yield the name to write to; it becomes `path` when the block succeeds."""
    if address.partition("://")[0] in _WHOLE_PUT:
        yield path
        return
    folder, _, _ = path.rpartition("/")
    temporary = f"{folder}/.adnet-{secrets.token_hex(8)}.tmp"
    if folder:
        system.makedirs(folder, exist_ok=True)
    try:
        yield temporary
        system.mv(temporary, path)
    except BaseException:
        with suppress(Exception):
            system.rm_file(temporary)
        raise


def _require_size(system: Any, name: str, size: int) -> None:
    """Not every store says that it took less; asked only where a temporary name can be undone."""
    if ".adnet-" in name and name.endswith(".tmp") and system.size(name) != size:
        raise OSError(f"{system.size(name)} of {size} bytes were written")


@contextmanager
def _told(place: str, what: str, kind: type[AdnetError]) -> Iterator[None]:
    """Turn whatever a store raises to an error that names the address."""
    try:
        yield
    except AdnetError:
        raise
    except FileNotFoundError as err:
        raise kind(f"{place}: cannot {what}: no such file, bucket or folder.") from err
    except PermissionError as err:
        reason = str(err) or "access denied"
        raise kind(f"{place}: cannot {what}: {reason}. Check the credentials and rights.") from err
    except Exception as err:  # every store has its own errors
        reason = str(err) or type(err).__name__
        raise kind(f"{place}: cannot {what}: {reason}.") from err


def _common_folder(addresses: list[str]) -> str:
    """Return the longest address that all lie below; at the least, the bucket."""
    scheme, _, first = addresses[0].partition("://")
    common = first.split("/")[:-1]
    for address in addresses[1:]:
        parts = address.partition("://")[2].split("/")[:-1]
        count = 0
        for ours, theirs in zip(common, parts, strict=False):
            if ours != theirs:
                break
            count += 1
        common = common[:count]
    return f"{scheme}://{'/'.join(common)}"


def remove_below(address: str) -> None:
    """Remove everything below an address; nothing happens where there is nothing.

    Raises:
        UsageError: it cannot be removed.
    """
    with _told(address, "be removed", UsageError):
        system, path = _open(address)
        with suppress(FileNotFoundError):
            system.rm(path, recursive=True)
