"""What the stand-in for ATC knows of flags: their grammar, values and paths, and how it fails.

Names and values are those of GE's api/atc/atc_flags.cc and of the manual's "CLI options"; the
stand-in knows those that adnet or its users may give, and refuses what it cannot imitate.
"""
# ruff: noqa: SIM905, T201

import os
import re
import sys

from atc_cann import layout

FLAGS = set(
    "model framework output soc_version input_format input_shape input_shape_range "
    "dynamic_batch_size dynamic_image_size dynamic_dims insert_op_conf out_nodes output_type "
    "input_fp16_nodes precision_mode precision_mode_v2 op_select_implmode optypelist_for_implmode "
    "enable_small_channel log debug_dir op_compiler_cache_mode op_compiler_cache_dir mode weight "
    "keep_dtype customize_dtypes modify_mixlist op_precision_mode fusion_switch_file "
    "buffer_optimize deterministic virtual_type disable_reuse_memory external_weight "
    "input_hint_shape auto_tune_mode host_env_os host_env_cpu check_report allow_hf32".split()
)
ZERO_OR_ONE = ("enable_small_channel", "virtual_type", "disable_reuse_memory", "deterministic")
CHOICES = {
    "precision_mode": "force_fp16 force_fp32 cube_fp16in_fp32out allow_mix_precision "
    "allow_mix_precision_fp16 allow_mix_precision_bf16 allow_fp32_to_fp16 allow_fp32_to_bf16 "
    "must_keep_origin_dtype",
    "precision_mode_v2": "fp16 origin cube_fp16in_fp32out mixed_float16 mixed_bfloat16 "
    "mixed_hif8 cube_hif8",
    "op_compiler_cache_mode": "enable disable force",
    "output_type": "FP32 FP16 UINT8 INT8",
    "op_select_implmode": "high_performance high_precision high_performance_for_all "
    "high_precision_for_all",
    "buffer_optimize": "l2_optimize off_optimize",  # l1_optimize passes a first check only
    "external_weight": "0 1 2",
    "mode": "0 1 3 5 6 7 30",
    "host_env_os": "linux minios",
    "host_env_cpu": "x86_64 aarch64",
    "allow_hf32": "true false",
}
FILES = (
    "keep_dtype", "customize_dtypes", "modify_mixlist", "op_precision_mode", "fusion_switch_file",
    "insert_op_conf", "weight",
)  # fmt: skip
FAILED = "ATC run failed, Please check the detail log, Try 'atc --help' for more information"
PATH_RULE = re.compile(r"[A-Za-z0-9./_\u4e00-\u9fa5-]+")
PATH_TEXT = "The path can only contain 'a-z' 'A-Z' '0-9' '-' '.' '_' and Chinese characters."


def fail(code, text, started=True):
    if started:
        print("...")
    print(FAILED)
    if layout() == "5":
        print(f"{code}: {text}\n        TraceBack (most recent call last):")
    elif layout() == "6":
        print(f"{code}: [PID: 106] 2025-10-30-08:21:08.817.477 {text}\n        Solution: none")
    else:
        print(f"[PID: 106] 2026-04-09-21:56:40.384.694 Some_Name({code}): {text}")
        print("        Possible Cause: see the manual.")
    sys.exit(255)


def invalid(flag, value, reason, code="E10001"):
    fail(code, f"Value {value} for parameter --{flag} is invalid. Reason: {reason}")


def parse(arguments):
    flags, rest = {}, list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            _refuse(f"Non-option parameter: {word}")
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if name not in FLAGS:
            _refuse(f"unknown command line flag '{name}'")
        if not equals:
            if not rest:
                _refuse(f"flag '--{name}' is missing its argument")
            value = rest.pop(0)
        flags[name] = value
    return flags


def _refuse(complaint):
    print(f"ERROR: {complaint}", file=sys.stderr)
    print(FAILED)
    sys.exit(255)


def check_values(flags):
    """Check what each flag may be by itself."""
    for name, choices in CHOICES.items():
        if name in flags and flags[name] not in choices.split():
            invalid(name, flags[name], f"The value is not within {choices}")
    for name in ZERO_OR_ONE:
        if flags.get(name, "0") not in ("0", "1"):
            fail("E10006", f"Value {flags[name]} for parameter --{name} is invalid. The value must "
                 "be either 1 or 0.")  # fmt: skip
    if "auto_tune_mode" in flags:
        invalid("auto_tune_mode", flags["auto_tune_mode"], "The Auto Tune function has been "
                "deprecated. Please use the AOE tool for tuning.")  # fmt: skip
    if flags.get("log", "null") not in ("debug", "info", "warning", "error", "null"):
        fail("E10010", "Value for parameter --log is invalid.", started=False)
    is_nano = flags.get("soc_version", "").startswith("Ascend035")
    if (flags.get("mode") == "30") != is_nano:
        fail("E10055", "The operation is not supported. Reason: mode 30 belongs to Ascend035.")
    if flags.get("mode", "0") != "0":
        invalid("mode", flags["mode"], "this stand-in only converts")


def check_pairs(flags):
    """Check what goes with what."""
    if "precision_mode" in flags and "precision_mode_v2" in flags:
        fail("E10056", "Cannot configure both parameters simultaneously.")
    mode = flags.get("precision_mode", "") + flags.get("precision_mode_v2", "")
    if "modify_mixlist" in flags and "mix" not in mode:
        invalid("modify_mixlist", flags["modify_mixlist"], "it needs a mode of mixed precision")
    if "optypelist_for_implmode" in flags and "op_select_implmode" not in flags:
        invalid("optypelist_for_implmode", "", "op_select_implmode is not configured")
    if ("host_env_os" in flags) != ("host_env_cpu" in flags):  # unconfirmed: checked as a pair
        invalid("host_env_os", flags.get("host_env_os", ""), "both of the pair are needed")


def check_paths(flags):
    """Check that paths are plain, and there where they must be."""
    for name in FILES:
        if name in flags and not os.path.isfile(flags[name]):
            invalid(name, flags[name], "No such file")
    if "debug_dir" in flags and not os.path.isdir(flags["debug_dir"]):
        invalid("debug_dir", flags["debug_dir"], "The directory does not exist")
    for name in ("op_compiler_cache_dir", "check_report"):
        if name in flags:  # a folder is made; a report's folder, too (unconfirmed)
            folder = flags[name] if name.endswith("dir") else os.path.dirname(flags[name]) or "."
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as err:
                invalid(name, flags[name], err.strerror)
            if not os.access(folder, os.W_OK):
                invalid(name, flags[name], "Permission denied")
    for name in (*FILES, "debug_dir", "op_compiler_cache_dir", "check_report"):
        if name in flags and not PATH_RULE.fullmatch(flags[name]):
            invalid(name, flags[name], PATH_TEXT)
