"""Names of pyACL's return codes, and what to do about the common ones.

Sources: rt_error_codes.h and acl_base.h of the open-sourced CANN runtime, ge_error_codes.h of the
graph engine; the hints come from the CANN manuals and public bug reports.
"""

from __future__ import annotations

_NO_CONTEXT = "This thread has no context; a device must be set in every thread that uses it."
_OUT_OF_MEMORY = "The device is out of memory: use a smaller batch or size, or free the device."
_SHAPE = "The data does not have the shape of the model; convert the model again for this size."
_BUSY = "The device is busy, in exclusive use or not visible: see npu-smi info."
_HARDWARE = "The chip reported an error: see the logs in $HOME/ascend/log and npu-smi info."
_FAULT = (
    "An operator failed on the chip. Start again; if it fails again, convert the model again with "
    "this machine's CANN and chip, or with smaller gears; the logs are in $HOME/ascend/log."
)
_MEMORY_FAULT = "The device's memory is damaged: see npu-smi info -t health; it may need a reset."
_NO_SUCH_TASK = (
    "The device cannot do what the OM asks for. On a part of a chip (vNPU) the OM must be "
    "converted with adnet-export om --virtual-type; else convert it for this chip and CANN."
)
_OVERFLOW = (
    "A layer's result was too large for float16: convert the model with --precision-mode origin, "
    "where the chip can, or run it on another backend."
)
_OTHER_MACHINE = (
    "When loading: the OM was built for another chip, a newer CANN, or another system and "
    "processor ('adnet-export inspect' tells); convert it for this one."
)

CODES: dict[int, tuple[str, str]] = {
    100000: ("ACL_ERROR_INVALID_PARAM", ""),
    100001: ("ACL_ERROR_UNINITIALIZE", "acl.init was not called in this process."),
    100002: ("ACL_ERROR_REPEAT_INITIALIZE", ""),
    100003: ("ACL_ERROR_INVALID_FILE", ""),
    100011: ("ACL_ERROR_INVALID_MODEL_ID", ""),
    100013: ("ACL_ERROR_PARSE_MODEL", "The OM is damaged or of another CANN version."),
    100017: ("ACL_ERROR_INPUT_NOT_MATCH", _SHAPE),
    100018: ("ACL_ERROR_OUTPUT_NOT_MATCH", _SHAPE),
    100019: ("ACL_ERROR_MODEL_NOT_DYNAMIC", "The model has no gears."),
    100037: ("ACL_ERROR_REPEAT_FINALIZE", ""),
    100038: ("ACL_ERROR_NOT_STATIC_AIPP", ""),
    107000: ("ACL_ERROR_RT_PARAM_INVALID", ""),
    107001: ("ACL_ERROR_RT_INVALID_DEVICEID", "There is no device of this number: npu-smi info."),
    107002: ("ACL_ERROR_RT_CONTEXT_NULL", _NO_CONTEXT),
    107003: ("ACL_ERROR_RT_STREAM_CONTEXT", "The stream belongs to another context."),
    107008: ("ACL_ERROR_RT_ADDR_UNALIGNED", ""),
    107017: ("ACL_ERROR_RT_INVALID_HANDLE", ""),
    107019: ("ACL_ERROR_RT_WAIT_TIMEOUT", _HARDWARE),
    107020: ("ACL_ERROR_RT_TASK_TIMEOUT", _HARDWARE),
    145000: ("ACL_ERROR_GE_PARAM_INVALID", _SHAPE),
    145001: ("ACL_ERROR_GE_EXEC_NOT_INIT", "acl.init was not called in this process."),
    145002: ("ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID", "The file is missing or not readable."),
    145003: ("ACL_ERROR_GE_EXEC_MODEL_ID_INVALID", ""),
    145006: ("ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID", "The OM is truncated or no OM."),
    145011: ("ACL_ERROR_GE_DYNAMIC_INPUT_ADDR_INVALID", ""),
    145012: ("ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID", ""),
    145013: ("ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID", "The shape is no gear of the model."),
    145020: ("ACL_ERROR_GE_FORMAT_INVALID", ""),
    145021: ("ACL_ERROR_GE_SHAPE_INVALID", _SHAPE),
    145022: ("ACL_ERROR_GE_DATATYPE_INVALID", ""),
    200000: ("ACL_ERROR_BAD_ALLOC", "The host is out of memory."),
    200001: ("ACL_ERROR_API_NOT_SUPPORT", "This chip or CANN version does not have the call."),
    200002: ("ACL_ERROR_INVALID_DEVICE", "There is no device of this number: npu-smi info."),
    207001: ("ACL_ERROR_RT_MEMORY_ALLOCATION", _OUT_OF_MEMORY),
    207003: ("ACL_ERROR_RT_AICORE_OVER_FLOW", _OVERFLOW),
    207004: ("ACL_ERROR_RT_NO_DEVICE", _BUSY),
    207016: ("ACL_ERROR_RT_AIVEC_OVER_FLOW", _OVERFLOW),
    207018: ("ACL_ERROR_RT_DEVICE_OOM", _OUT_OF_MEMORY),
    245000: ("ACL_ERROR_GE_MEMORY_ALLOCATION", _OUT_OF_MEMORY),
    500000: ("ACL_ERROR_INTERNAL_ERROR", _HARDWARE),
    500001: ("ACL_ERROR_FAILURE", _HARDWARE),
    500002: (
        "ACL_ERROR_GE_FAILURE",
        _OTHER_MACHINE,
    ),
    500003: ("ACL_ERROR_RT_FAILURE", _HARDWARE),
    500004: ("ACL_ERROR_DRV_FAILURE", _HARDWARE),
    507000: ("ACL_ERROR_RT_INTERNAL_ERROR", _HARDWARE),
    507008: (
        "ACL_ERROR_RT_SOC_VERSION",
        "The OM was built for another chip; convert it with the --soc of this one.",
    ),
    507009: (
        "ACL_ERROR_RT_TASK_TYPE_NOT_SUPPORT",
        _NO_SUCH_TASK,
    ),
    507010: ("ACL_ERROR_RT_LOST_HEARTBEAT", "The device is lost; it may need a reset."),
    507011: (
        "ACL_ERROR_RT_MODEL_EXECUTE",
        "Often too large a batch or size for the device: try a smaller one.",
    ),
    507013: ("ACL_ERROR_RT_SYS_DMA", _HARDWARE),
    507014: ("ACL_ERROR_RT_AICORE_TIMEOUT", _HARDWARE),
    507015: ("ACL_ERROR_RT_AICORE_EXCEPTION", _FAULT),
    507018: ("ACL_ERROR_RT_AICPU_EXCEPTION", _HARDWARE),
    507033: ("ACL_ERROR_RT_DEV_SETUP_ERROR", _BUSY),
    507034: ("ACL_ERROR_RT_VECTOR_CORE_TIMEOUT", _HARDWARE),
    507035: ("ACL_ERROR_RT_VECTOR_CORE_EXCEPTION", _FAULT),
    507036: ("ACL_ERROR_RT_VECTOR_CORE_TRAP_EXCEPTION", _FAULT),
    507046: ("ACL_ERROR_RT_STREAM_SYNC_TIMEOUT", _HARDWARE),
    507048: ("ACL_ERROR_RT_FFTS_PLUS_TIMEOUT", _HARDWARE),
    507049: ("ACL_ERROR_RT_FFTS_PLUS_EXCEPTION", _FAULT),
    507050: ("ACL_ERROR_RT_FFTS_PLUS_TRAP_EXCEPTION", _FAULT),
    507053: ("ACL_ERROR_RT_DEVICE_MEM_ERROR", _MEMORY_FAULT),
    507054: ("ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR", _MEMORY_FAULT),
    507899: ("ACL_ERROR_RT_DRV_INTERNAL_ERROR", _HARDWARE),
    545001: ("ACL_ERROR_GE_LOAD_MODEL", "The OM cannot be loaded; convert it for this chip."),
    545009: ("ACL_ERROR_GE_UNLOAD_MODEL", ""),
}
"""Code -> (name in the headers, what it usually means and what to do; may be empty)."""

LOST_CODES = frozenset(
    (507010, 507013, 507014, 507015, 507018, 507034, 507035, 507036, 507046, 507048, 507049, 507050,
     507053, 507054, 507899)
)  # fmt: skip
"""Lost heartbeat, exceptions, time-outs and memory faults of the chip, driver errors: its context
is of no more use."""


def explain_code(code: int) -> tuple[str, str]:
    """Return a code's name and hint; unknown codes get a general answer."""
    return CODES.get(code, ("unknown code", "See the logs in $HOME/ascend/log."))
