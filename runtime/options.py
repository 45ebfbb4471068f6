"""The options of adnet-run, by what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adnet.runtime.choices import ColorMode, FileFormat, Pad, Precision

# What goes in and out

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Images, folders (their tree is mirrored), addresses such as s3://..., or - for stdin."
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the results; for one input, also a file, or - for stdout.",
    ),
]
Suffix = Annotated[
    str | None,
    typer.Option(
        help="Put this behind each name: _clean makes a_clean.png. Without -o, results lie beside "
        "their inputs."
    ),
]
Format = Annotated[
    FileFormat | None,
    typer.Option("--format", help="Write this format. Default: that of the input."),
]
Quality = Annotated[
    int | None,
    typer.Option(
        help="1 to 100, of JPEG and lossy WebP. Default: a JPEG keeps its own tables and "
        "subsampling; else 95."
    ),
]
FilesFrom = Annotated[
    Path | None,
    typer.Option(help="Take inputs from this list, too: one path a line; - reads it from stdin."),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Go on denoising what appears in the folders, until Ctrl-C.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing outputs instead of skipping them.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done with each image, and do nothing.")
]
Compare = Annotated[
    Path | None,
    typer.Option(help="Folder for a picture of each image before and after, a part enlarged."),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        help="With --compare: folder of clean images of the same names, for PSNR and SSIM."
    ),
]
StripMetadata = Annotated[
    bool,
    typer.Option(
        "--strip-metadata",
        help="Leave out Exif, GPS, XMP, IPTC and texts; colour profile, orientation and "
        "resolution stay.",
    ),
]

# How it is denoised

Model = Annotated[
    str | None,
    typer.Option(
        help="Name of a shipped model or path of a model file. "
        "Default: the shipped blind model for gray or colour, whichever the image is."
    ),
]
Sigma = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Noise level on the scale of 8-bit pixels, by which a shipped model is chosen; auto: "
        "estimated from each image.",
    ),
]
Strength = Annotated[
    float,
    typer.Option(help="0 to 1: how much of the result is blended with the input; 0: none of it."),
]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble", help="Mean over the image's eight orientations: a little better, 8 times the "
        "work."
    ),
]  # fmt: skip
Color = Annotated[
    ColorMode | None,
    typer.Option(
        "--color-mode",
        help="Take the gray model for colour: on each of its planes, or on its luma alone.",
    ),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast", help="Take the int8 twin of --model: faster on CPUs; what it loses is told."
    ),
]
ValueRange = Annotated[
    str | None,
    typer.Option("--range", help="BLACK,WHITE of float images, such as 0,255. Default: 0,1."),
]

# On what it runs

Backend = Annotated[
    str | None,
    typer.Option(
        help="Runtime. Default: chosen by the model file's suffix. auto: the fastest of those "
        "installed, measured for some seconds the first time."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where to run: cpu, cuda:0, npu:0 or, for several OM, npu:0,npu:1."),
]
ExecutionProvider = Annotated[
    str | None,
    typer.Option(help="Execution provider of ONNX Runtime, e.g. cuda, openvino. Default: cpu."),
]
Arithmetic = Annotated[
    Precision | None,
    typer.Option(
        help="Arithmetic, as far as the backend has it. Default: fp32, or the file's int8."
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="CPU threads, of each stream. Default: the runtime decides.")
]
Streams = Annotated[
    int | None,
    typer.Option(help="On ONNX Runtime, OpenVINO and MNN: batches in work at once. Default: 1."),
]
Compile = Annotated[bool, typer.Option("--compile", help="On torch: use torch.compile.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="On OpenVINO: folder to keep compiled models in. Default: none is kept."),
]
TileSide = Annotated[
    int | None,
    typer.Option(
        help="Largest side in pixels of what the network sees at once. Default: about 1024 on a "
        "CPU, less where little memory is free."
    ),
]
Batch = Annotated[int | None, typer.Option(help="Tiles given to the network at once. [1]")]
Padding = Annotated[
    Pad | None,
    typer.Option(help="reflect: mirror the border of images too small for a fixed-size model."),
]
MaxPixels = Annotated[
    int, typer.Option(help="Refuse larger images as possible decompression bombs.")
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        help="Memory of the whole program, such as 500M or 2G. PNG and TIFF images that do not "
        "fit in are denoised in bands. Default: half of what is free."
    ),
]

# Beyond files of one machine

Jobs = Annotated[
    str | None,
    typer.Option(
        "--jobs",
        help="Text or Parquet file (or address) that lists images, and their outputs behind a tab "
        "or in a column 'target'. Instead of INPUTS.",
    ),
]
ByChunk = Annotated[
    bool,
    typer.Option(
        "--by-chunk",
        help="Read and write TIFF or Zarr images of any size piece by piece, within memory set by "
        "the piece. Without saying: where input or output is named .zarr.",
    ),
]
Chunk = Annotated[
    int | None, typer.Option("--chunk", help="Side of such a piece in pixels. [1024]")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Run on a Ray cluster: auto for the one that this machine belongs to, or HOST:6379.",
    ),
]
Workers = Annotated[
    str | None, typer.Option("--workers", help="On a cluster: N, or LEAST:MOST. Default: all.")
]
WorkerCpus = Annotated[
    int | None, typer.Option("--worker-cpus", help="CPUs, and threads, of each worker. [1]")
]
WorkerNpus = Annotated[
    int | None, typer.Option("--worker-npus", help="Ascend NPUs of each worker. [0]")
]
WorkerGpus = Annotated[int | None, typer.Option("--worker-gpus", help="GPUs of each worker. [0]")]
ImagesPerTask = Annotated[
    int | None,
    typer.Option("--images-per-task", help="Images that a worker takes at once. [64]"),
]

# Instead of denoising

ListModels = Annotated[
    bool, typer.Option("--list-models", help="List the shipped models and exit.")
]
ListBackends = Annotated[
    bool, typer.Option("--list-backends", help="List what can run here, or why not, and exit.")
]
Doctor = Annotated[
    bool,
    typer.Option(
        "--doctor",
        help="Examine this machine and exit; with --backend: status 1 when it cannot run.",
    ),
]
