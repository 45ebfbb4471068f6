"""Which CANN the stand-in for ATC is: ATC_FAKE_CANN names it, 8.5 where it does not.

Opsets are those of the vendor's pages (CANN 8: "see each operator", so those of 7). The Python that
runs the stand-in counts, or the versions that ATC_FAKE_PYTHON and ATC_FAKE_NUMPY name. Up to CANN
8.2 NumPy 2 is too new for the compiler inside of ATC, up to 8.1 Python 3.11 is (reports from the
field, no source; with newer CANN none are known).
"""
# ruff: noqa: T201

import os
import sys
from importlib.metadata import version


def cann():
    return _numbers(os.environ.get("ATC_FAKE_CANN", "8.5"))


def layout():
    """Text of an error: that of CANN 5, of 6 to 8.3, or of 8.5 and later."""
    older = "6" if cann() >= (6,) else "5"
    return os.environ.get("ATC_FAKE_LAYOUT", "8" if cann() >= (8, 5) else older)


def opsets():
    if cann() < (7,):
        return range(9, 14)
    return range(9, 19) if cann() < (9,) else range(11, 19)


def python_fault():
    """What the operator compiler says where Python or NumPy is too new for it: code and text."""
    if cann() <= (8, 1) and _numbers(os.environ.get("ATC_FAKE_PYTHON", _python())) >= (3, 11):
        print("TypeError: cannot pickle 'FrameLocalsProxy' object")
        return "EZ9999", "Inner Error!"
    if cann() <= (8, 2) and _numbers(os.environ.get("ATC_FAKE_NUMPY", version("numpy"))) >= (2,):
        return "E40024", (
            "Failed call Python Func [compile_op], Reason[AttributeError: `np.float_` was removed "
            "in the NumPy 2.0 release. Use `np.float64` instead.]"
        )
    return None


def _python():
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _numbers(text):
    return tuple(int(part) for part in text.split(".")[:2])
