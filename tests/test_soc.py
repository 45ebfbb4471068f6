"""The chip's name from npu-smi's tables (layouts seen in public issue reports) and from pyACL."""

import os
import stat
import sys

import pytest

from adnet.errors import UsageError
from adnet.export.soc import detect_soc

HEAD = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.1                   Version: 24.1.1                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
"""
ROW = """\
| {npu:<5} {name:<19} | OK            | 88.2        30                0    / 0             |
| 0     {phy:<19} | 0000:C1:00.0  | 0           0    / 0          26838/ 32768         |
+===========================+===============+====================================================+
"""
BOARD = """\
        NPU ID                         : 3
        Product Name                   : IT21HMDC02
        NPU Name                       : 9392
        Chip Name                      : Ascend910
"""


@pytest.fixture
def npu_smi(tmp_path, monkeypatch):
    """Install a program that prints a table: npu_smi([(number, name), ...])."""

    def install(rows, status=0):
        rows = [ROW.format(npu=npu, name=name, phy=100 + int(npu)) for npu, name in rows]
        (tmp_path / "table").write_text(HEAD + "".join(rows))
        (tmp_path / "board").write_text(BOARD)
        program = tmp_path / "npu-smi"
        choice = f'[ "$#" = 1 ] && cat {tmp_path}/table || cat {tmp_path}/board'
        program.write_text(f"#!/bin/sh\n{choice}\nexit {status}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        if "acl" not in sys.modules:
            monkeypatch.setitem(sys.modules, "acl", None)  # also where CANN is installed

    return install


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("0", "310P3")], "Ascend310P3"),
        ([("0", "910B4"), ("1", "910B4")], "Ascend910B4"),
        ([("5", "910B4-1")], "Ascend910B4-1"),
        ([("0", "310")], "Ascend310"),
        ([("3", "Ascend910")], "Ascend910_9392"),
    ],
)
def test_npu_smi(npu_smi, rows, expected):
    npu_smi(rows)
    assert detect_soc() == expected


def test_several_kinds_need_a_choice(npu_smi):
    npu_smi([("0", "310P3"), ("1", "310B4")])
    with pytest.raises(UsageError, match="Ascend310B4 and Ascend310P3; choose one"):
        detect_soc()


def test_no_chip(npu_smi):
    npu_smi([])
    with pytest.raises(UsageError, match="no Ascend chip"):
        detect_soc()
    npu_smi([("0", "310P3")], status=1)
    with pytest.raises(UsageError, match="no Ascend chip"):
        detect_soc()


def test_pyacl_is_asked_first(acl, npu_smi):
    npu_smi([("0", "310P3")])
    acl.state.soc = "Ascend910B2"
    assert detect_soc() == "Ascend910B2"
