"""What ATC prints when it fails, written after the layouts of the public reports and sources.

Paths, names and numbers are made up.
"""

FAILED = (
    "ATC start working now, please wait for a moment.\n...\n"
    "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"
)
LOADER = (
    "/opt/cann/bin/atc.bin: error while loading shared libraries: {}: cannot open shared object "
    "file: No such file or directory\n"
)
_TRACE = "        TraceBack (most recent call last):\n"
_STAMP = "[PID: 4711] 2026-05-01-10:00:00.123.456 "

LOGS = {
    # name: (log, exit status, code, what the text says, what the remedy says, what it never says)
    "missing module, with a code": (
        FAILED + _STAMP + "Import_Python_Module_Failed(E40020): Failed to import Python module "
        "[decorator], result: No module named 'decorator'\n" + _TRACE,
        255, "E40020", "decorator", "pip install decorator", "",
    ),
    "missing module, in the old layout": (
        FAILED + "E40021: Failed to compile Op [Conv2D]. (oppath: [Pre-compile /opt/opp/conv2d.py "
        "failed with errormsg/stack: No module named 'attr'], optype: [Conv2D])\n",
        255, "E40021", "No module named 'attr'", "pip install attrs", "",
    ),
    "missing module, in front of an inner error": (
        "Traceback (most recent call last):\n  File \"/opt/cann/python/te.py\", line 1, in "
        "<module>\nModuleNotFoundError: No module named 'google.protobuf'\n" + FAILED
        + "E19999: Inner Error!\n" + _TRACE,
        255, "E19999", "google.protobuf", "pip install protobuf", "",
    ),
    "no module, but a code": (
        FAILED + "E40020: Failed to import Python module.\n",
        255, "E40020", "Failed to import", "numpy<2", "",
    ),
    "tbe": (
        FAILED + "EC0010: [PID: 9] 2025-10-30-08:21:08.817.477 Failed to import Python module "
        "[No module named 'tbe'].\n        Solution: Check the environment.\n",
        255, "EC0010", "tbe", "comes with CANN", "pip install",
    ),
    "te_fusion": (
        "ImportError: No module named te_fusion\n" + FAILED + "E19999: Inner Error!\n",
        255, "E19999", "te_fusion", "set_env.sh", "pip install",
    ),
    "te_fusion, by its bracket": (
        FAILED + _STAMP + "X(E40020): Failed to import Python module [te_fusion.fusion_manager]\n",
        255, "E40020", "te_fusion", "comes with CANN", "pip install",
    ),
    "E40021": (
        FAILED + "E40021: Failed to compile Op [Conv2D_1], optype [Conv2D].\n",
        255, "E40021", "Conv2D_1", "numpy<2", "",
    ),
    "E40024": (
        FAILED + "E40024: Failed call Python Func/Meathod [get_binfile_sha256_hash_from_c], Reason"
        "[SystemError: <built-in function> returned a result with an error set]\n",
        255, "E40024", "get_binfile", "in Python", "",
    ),
    "NumPy 2": (
        FAILED + "E40024: Failed call Python Func [compile_op], Reason[AttributeError: `np.float_` "
        "was removed in the NumPy 2.0 release. Use `np.float64` instead.]\n",
        255, "E40024", "np.float_", "numpy<2", "",
    ),
    "NumPy 2, newer code": (
        FAILED + _STAMP + "Call_Python_Failed(EC0010): Failed to call Python function, Reason: "
        "`np.float_` was removed in the NumPy 2.0 release.\n",
        255, "EC0010", "np.float_", "numpy<2", "",
    ),
    "NumPy 2, from a binary module": (
        "A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.2.6 as it may "
        "crash.\n" + FAILED + "EZ9999: Inner Error!\n",
        255, "EZ9999", "NumPy 1.x", "numpy<2", "",
    ),
    "EC0010": (
        FAILED + "EC0010: Failed to call Python function [x], Reason: ValueError.\n",
        255, "EC0010", "ValueError", "in Python", "",
    ),
    "E20001": (
        FAILED + "E19999: Inner Error!\nE20001: Failed to compile op [Conv_0].\n" + _TRACE,
        255, "E20001", "Conv_0", "ops package", "",
    ),
    "killed": (
        "/opt/cann/bin/atc: line 16: 4711 Killed        ${PKG_PATH}/bin/atc.bin \"$@\"\n",
        137, "", "Killed", "TE_PARALLEL_COMPILER=1", "",
    ),
    "killed without a word": (
        "ATC start working now, please wait for a moment.\n",
        -9, "", "killed", "TE_PARALLEL_COMPILER=1", "",
    ),
    "no driver": (
        LOADER.format("libascend_hal.so"),
        127, "", "libascend_hal.so", "devlib", "",
    ),
    "no environment": (
        LOADER.format("libgraph.so"),
        127, "", "libgraph.so", "set_env.sh", "devlib",
    ),
    "old system": (
        "/opt/cann/bin/atc.bin: /lib64/libc.so.6: version `GLIBC_2.34' not found\n",
        1, "", "GLIBC_2.34", "container", "",
    ),
    "too new a Python": (
        "TypeError: cannot pickle 'FrameLocalsProxy' object\n" + FAILED + "EZ9999: Inner Error!\n",
        255, "EZ9999", "FrameLocalsProxy", "too new", "",
    ),
    "environment not set": (
        FAILED + "E10001: Value [linux] for parameter [--host_env_os] is invalid. Reason: ...\n",
        255, "E10001", "host_env_os", "set_env.sh", "",
    ),
    "a chip that this release does not know": (
        FAILED + "E10001: Value [Ascend950PR_957b] for parameter [--soc_version] is invalid.\n",
        255, "E10001", "Ascend950PR_957b", "as new as the chip", "",
    ),
    "operators of another chip": (
        "socversion Ascend910B1 of bin package does not match Ascend310P3\n" + FAILED
        + "EZ9999: Inner Error!\n",
        255, "EZ9999", "bin package", "another chip", "",
    ),
    "memory": (
        FAILED + _STAMP + "Memory_Allocation_Failure(EL0004): Failed to allocate memory.\n",
        255, "EL0004", "Failed to allocate", "TE_PARALLEL_COMPILER=1", "",
    ),
    "opset, old code": (
        FAILED + "E19010: No parser is registered for Op [c, optype [ai.onnx::22::Conv]]\n",
        255, "E19010", "ai.onnx::22::Conv", "--opset 11", "",
    ),
    "opset": (
        FAILED + _STAMP + "No_Parser(E16002): No ONNX parser is registered for optype Conv.\n",
        255, "E16002", "Conv", "--opset 11", "",
    ),
    "operators": (
        FAILED + "E10501: IR for Op c with optype Conv is not registered.\n",
        255, "E10501", "not registered", "set_env.sh", "",
    ),
}  # fmt: skip
