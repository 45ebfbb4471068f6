"""ONNX Runtime Web: which files of its npm package the page needs, and how they get here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from adnet.errors import ExportError, FetchError, UsageError

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"

FILES = {
    "ort.wasm.min.mjs":
        "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs":
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm":
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.min.mjs":
        "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs":
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm":
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}  # fmt: skip
"""File in the package's dist/ -> its SHA-256. The first three compute on the CPU, the others on
WebGPU."""

RUNTIMES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"),
}
"""Where the page may compute -> the script to import, and the stem of what that loads."""

LICENCE = """ONNX Runtime Web, from the npm package onnxruntime-web {version}.

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def put_ort_web(target: Path, source: Path | None, runtimes: list[str]) -> None:
    """Put the files that some runtimes need into a folder, checked against their digests.

    Args:
        target: folder, which is there.
        source: the package: the file that `npm pack` writes, or the folder unpacked from it. None:
            `npm` fetches it from the registry it is set up for.
        runtimes: keys of `RUNTIMES`.

    Raises:
        UsageError: there is no npm, or `source` is not the package.
        FetchError: npm failed.
        ExportError: a file is not the one of this version.
    """
    wanted = [name for one in runtimes for name in _files_of(one)]
    with tempfile.TemporaryDirectory(prefix="adnet-ort-web-") as folder:
        if source is None:
            source = _pack(Path(folder))
        if source.is_dir():
            _copy(source, wanted, target)
        else:
            _unpack(source, wanted, target)
    for name in wanted:
        found = hashlib.sha256((target / name).read_bytes()).hexdigest()
        if found != FILES[name]:
            raise ExportError(
                f"{name}: is not the file of {PACKAGE}: expected SHA-256 {FILES[name][:16]}..., "
                f"got {found[:16]}.... Give --ort-web what 'npm pack {PACKAGE}' writes."
            )
    (target / "LICENSE.txt").write_text(LICENCE.format(version=VERSION), encoding="utf-8")


def runtime_entry(name: str, folder: str) -> dict[str, str]:
    """Return where the page finds a runtime's files, for the manifest."""
    script, stem = RUNTIMES[name]
    return {
        "script": f"{folder}/{script}",
        "loader": f"{folder}/{stem}.mjs",
        "wasm": f"{folder}/{stem}.wasm",
    }


def _files_of(runtime: str) -> list[str]:
    script, stem = RUNTIMES[runtime]
    return [script, f"{stem}.mjs", f"{stem}.wasm"]


def _pack(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(
            f"npm is not installed; it brings {PACKAGE}, which the page runs on. Install Node.js, "
            f"or run 'npm pack {PACKAGE}' elsewhere and give its file: --ort-web FILE.tgz."
        )
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"]
    command += ["--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        told = (done.stderr.strip() or done.stdout.strip() or "no file came").splitlines()[-1]
        raise FetchError(
            f"npm could not fetch {PACKAGE}: {told}. Check its registry with 'npm ping', or give "
            "the package with --ort-web."
        )
    return found[0]


def _copy(source: Path, wanted: list[str], target: Path) -> None:
    folder = next((one for one in (source / "dist", source / "package" / "dist", source)
                   if (one / wanted[0]).is_file()), None)  # fmt: skip
    if folder is None:
        raise _not_the_package(source)
    try:
        for name in wanted:
            shutil.copyfile(folder / name, target / name)
    except OSError as err:
        raise _not_the_package(source) from err


def _unpack(source: Path, wanted: list[str], target: Path) -> None:
    try:
        with tarfile.open(source) as archive:
            for name in wanted:
                member = archive.extractfile(f"package/dist/{name}")
                if member is None:
                    raise _not_the_package(source)
                (target / name).write_bytes(member.read())
    except (OSError, KeyError, tarfile.TarError) as err:
        raise _not_the_package(source) from err


def _not_the_package(source: Path) -> UsageError:
    return UsageError(
        f"{source}: expected the npm package {PACKAGE}, as the file that 'npm pack {PACKAGE}' "
        f"writes or unpacked in a folder; dist/{next(iter(FILES))} is not in it."
    )
