"""What ATC is asked to do: one configuration, checked in our words, turned into its arguments.

ATC is Huawei's converter from ONNX to OM. Its rules are those of the CANN manuals and of the
open-sourced graph engine (GE, `api/atc`); codes such as E10035 are ATC's own for the same mistake.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from adnet.cann import has_float32_cube
from adnet.errors import UsageError
from adnet.export.ascend.atc_extra import check_extra, files_of, passed_on
from adnet.export.ascend.soc_names import check_soc, is_listed
from adnet.export.choices import Io, PrecisionMode, PrecisionModeV2
from adnet.models.architecture import FEATURES, RECEPTIVE_RADIUS

Gears = Literal["static", "batch", "size", "dims"]

_BF16_MODES = ("mixed_bfloat16", "allow_mix_precision_bf16", "allow_fp32_to_bf16")

MODEL_FILE, AIPP_FILE = "model.onnx", "aipp.cfg"
OUTPUT_NAME = "converted"
"""Without the suffix, which ATC appends."""

_MOST_GEARS = 100  # documented; older releases enforce it (E10036)
_MANY_GEARS = 4  # "3 to 4 are advised" (manual, --dynamic_dims)
_AIPP_LARGEST = 4096
_LARGEST_BATCH = 2048  # recommended in the manual

_MUCH_MEMORY = 8 * 2**30
"""Bytes; the smaller chips, such as the 310P's, have a few times as much."""

_AIPP_FORMATS = {1: "YUV400_U8", 3: "RGB888_U8"}
"""Channels -> AIPP's name for 8-bit gray and RGB. The input becomes NHWC, uint8."""


@dataclass(frozen=True, slots=True)
class AtcConfig:
    """A conversion. More than one batch or size makes gears: shapes chosen when the model runs.

    Raises:
        UsageError: a combination that ATC would refuse, or would take for something else.
    """

    soc: str
    channels: Literal[1, 3] = 1
    batches: tuple[int, ...] = (1,)
    sizes: tuple[tuple[int, int], ...] = ((321, 481),)
    """(height, width)"""
    precision_mode: PrecisionMode | None = None
    """A value of either spelling; None leaves ATC's default, float16."""
    io: Io = "fp32"
    """Type of the input: `uint8` goes through AIPP, which divides by 255 on the chip."""
    input_name: str = "image"
    op_cache: bool = False
    """Keep compiled operators for the next conversion."""
    virtual_type: bool = False
    """Build for a share of a chip (vNPU), which runs no models made for the whole."""
    any_soc: bool = False
    """Leave the judgement of `soc` to ATC."""
    extra: tuple[str, ...] = ()
    """Further arguments, `--flag=value`; see `atc_extra` for those that name files."""

    def __post_init__(self) -> None:
        if not self.any_soc:
            check_soc(self.soc)
        if not re.fullmatch(r"[\w-]+", self.soc):
            raise UsageError(
                f"--soc {self.soc!r} is no chip's name: letters, digits, _ and - only."
            )
        self._check_gears()
        known = get_args(PrecisionMode)
        if self.precision_mode is not None and self.precision_mode not in known:
            raise UsageError(
                f"--precision-mode {self.precision_mode!r} is not known to ATC; there are "
                f"{', '.join(known)}."
            )
        if self.precision_mode in _BF16_MODES and not has_float32_cube(self.soc):
            raise UsageError(
                f"--precision-mode {self.precision_mode}: {self.soc} has no bfloat16 (Ascend310B, "
                "Ascend910B1 and newer have). Leave it out for float16."
            )
        # ATC splits at the last ':' and at ';', and takes '-1' or '~' anywhere for a shape range.
        if not re.fullmatch(r"[\w./]+", self.input_name):
            raise UsageError(
                f"the model's input is named {self.input_name!r}, which ATC would misread. Export "
                "the checkpoint again with adnet-export onnx; it names the input 'image'."
            )
        if self.io == "uint8":
            self._check_aipp()
        check_extra(self.extra, [one.partition("=")[0] for one in self._own_arguments()])

    @property
    def gears(self) -> Gears:
        """What may vary when the model runs."""
        if len(self.batches) > 1:
            return "dims" if len(self.sizes) > 1 else "batch"
        return "size" if len(self.sizes) > 1 else "static"

    @property
    def warnings(self) -> list[str]:
        """What is allowed, but seldom meant."""
        found = []
        if self.soc == "Ascend910B":
            found.append(
                "Ascend910B is the old 910 with 30 cores. The Atlas A2 generation, often called "
                "910B, is Ascend910B1 to Ascend910B4; npu-smi info shows which."
            )
        if not is_listed(self.soc):
            found.append(f"soc {self.soc!r} is not in adnet's list; ATC decides whether it exists.")
        if self.precision_mode in ("force_fp32", "cube_fp16in_fp32out"):
            found.append(
                f"{self.precision_mode} multiplies in float16 and adds up in float32; only origin "
                "(must_keep_origin_dtype) asks for float32."
            )
        if self.precision_mode in ("origin", "must_keep_origin_dtype") and not (
            has_float32_cube(self.soc)
        ):
            found.append(
                f"{self.soc} multiplies matrices in float16 only; with {self.precision_mode} the "
                "layers may fall to the slow AI CPU, or the conversion may fail."
            )
        if max(min(size) for size in self.sizes) <= 2 * RECEPTIVE_RADIUS:
            found.append(
                f"sizes of {2 * RECEPTIVE_RADIUS} pixels and less cannot serve as tiles; this "
                "model runs images of exactly its sizes only."
            )
        if len(self.batches) * len(self.sizes) > _MANY_GEARS:
            found.append(
                f"{len(self.batches) * len(self.sizes)} gears: the manual advises 3 to 4; many "
                "more make converting and loading slow."
            )
        if max(self.batches) > _LARGEST_BATCH:
            found.append(f"batches above {_LARGEST_BATCH} are advised against.")
        # A layer's input and output, float16.
        needed = max(self.batches) * max(h * w for h, w in self.sizes) * FEATURES * 2 * 2
        if needed > _MUCH_MEMORY:
            found.append(
                f"the largest of them takes at least {needed / 2**30:.3g} GiB on the device; "
                "smaller sizes denoise images of any size in tiles, with the same result."
            )
        return found

    def arguments(self) -> list[str]:
        """Turn the configuration into ATC's arguments, with the names of files given below.

        ATC runs where `MODEL_FILE` and what `write_files` writes lie. It writes the whole command
        line into the OM: with names alone the same conversion makes the same file everywhere.
        """
        return [*self._own_arguments(), *passed_on(self.extra)]

    def write_files(self, folder: Path) -> list[str]:
        """Write what the arguments name, but for the model, into a folder; returns the names.

        Raises:
            UsageError: a file of --atc-arg is gone.
        """
        files = {AIPP_FILE: aipp_text(self).encode()} if self.io == "uint8" else {}
        try:
            files |= {name: path.read_bytes() for name, path in files_of(self.extra).items()}
        except OSError as err:
            raise UsageError(f"--atc-arg: {err.filename}: {err.strerror}.") from err
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return list(files)

    def _own_arguments(self) -> list[str]:
        batch = -1 if self.gears in ("batch", "dims") else self.batches[0]
        height, width = (-1, -1) if self.gears in ("size", "dims") else self.sizes[0]
        arguments = [
            f"--model={MODEL_FILE}",
            "--framework=5",
            f"--output={OUTPUT_NAME}",
            f"--input_format={'ND' if self.gears == 'dims' else 'NCHW'}",
            f"--input_shape={self.input_name}:{batch},{self.channels},{height},{width}",
            f"--soc_version={self.soc}",
            "--log=error",
        ]
        if self.gears == "batch":
            arguments.append(f"--dynamic_batch_size={_join(self.batches)}")
        elif self.gears == "size":
            arguments.append(f"--dynamic_image_size={';'.join(map(_join, self.sizes))}")
        elif self.gears == "dims":
            gears = [(n, *size) for n in self.batches for size in self.sizes]
            arguments.append(f"--dynamic_dims={';'.join(map(_join, gears))}")
        if self.precision_mode in get_args(PrecisionModeV2):
            arguments.append(f"--precision_mode_v2={self.precision_mode}")
        elif self.precision_mode is not None:
            arguments.append(f"--precision_mode={self.precision_mode}")
        if self.io == "fp16":
            arguments += [f"--input_fp16_nodes={self.input_name}", "--output_type=FP16"]
        elif self.io == "uint8":
            # The first layer has 1 or 3 channels; with static AIPP the chip can make use of that.
            arguments += [f"--insert_op_conf={AIPP_FILE}", "--enable_small_channel=1"]
        if self.op_cache:
            arguments.append("--op_compiler_cache_mode=enable")
        if self.virtual_type:
            arguments.append("--virtual_type=1")
        return arguments

    def _check_gears(self) -> None:
        for what, values in (("--batch", self.batches), ("--size", self.sizes)):
            if not values:
                raise UsageError(f"{what}: expected at least one value.")
            if len(set(values)) != len(values):
                raise UsageError(f"{what}: a value is given twice in {_show(values)} (E10039).")
        if min(self.batches) < 1 or min(min(size) for size in self.sizes) < 1:
            raise UsageError(
                f"batches and sizes must be at least 1, got {_show(self.batches)} and "
                f"{_show(self.sizes)} (E10038)."
            )
        count = len(self.batches) * len(self.sizes)
        if count > _MOST_GEARS:
            raise UsageError(
                f"{count} gears are more than ATC's {_MOST_GEARS} (E10036). Give fewer batches or "
                "sizes; images of other sizes are cut into exact tiles."
            )

    def _check_aipp(self) -> None:
        if self.gears == "dims":
            raise UsageError(
                "--io uint8 goes through AIPP, which ATC does not combine with batches and sizes "
                "that both vary (E10001). Give one batch or one size, or use --io fp32."
            )
        for height, width in self.sizes:
            if not (1 <= height <= _AIPP_LARGEST and 2 <= width <= _AIPP_LARGEST):
                raise UsageError(
                    f"--io uint8: AIPP takes images of 2 to {_AIPP_LARGEST} pixels across and 1 to "
                    f"{_AIPP_LARGEST} down, got {width}x{height}."
                )


def aipp_text(config: AtcConfig) -> str:
    """Write the AIPP configuration of a model whose `io` is uint8: divided by 255 on the chip.

    AIPP computes (pixel - mean - min) * var_reci in float16. float16(1/255) is 0.0039215088, so
    white becomes 0.99998. Field names and limits: CANN manual, "AIPP configuration file template".
    With size gears the source size is left to the gear (0), as ATC demands.
    """
    height, width = (0, 0) if config.gears == "size" else config.sizes[0]
    lines = [
        "aipp_mode: static",
        "related_input_rank: 0",
        f"input_format: {_AIPP_FORMATS[config.channels]}",
        "csc_switch: false",
        f"src_image_size_w: {width}",
        f"src_image_size_h: {height}",
    ]
    for channel in range(config.channels):
        lines += [
            f"mean_chn_{channel}: 0",
            f"min_chn_{channel}: 0.0",
            f"var_reci_chn_{channel}: {1 / 255:.8f}",
        ]
    return "aipp_op {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def _join(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _show(values: tuple[object, ...]) -> str:
    return ", ".join("x".join(map(str, one)) if isinstance(one, tuple) else str(one)
                     for one in values)  # fmt: skip
