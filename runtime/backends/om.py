"""ADNet as an OM on one or several Ascend devices, through pyACL."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import ExitStack
from pathlib import Path

from adnet.cann import is_simulated, soc_name
from adnet.errors import (
    BackendUnavailable,
    DeviceError,
    DeviceLostError,
    ModelError,
    UsageError,
)
from adnet.models.om_file import OmFile, read_om
from adnet.runtime.backend import Backend, Batch, RunOptions, require_finite
from adnet.runtime.backends.acl import Acl, in_use, load_acl
from adnet.runtime.backends.om_model import read_card
from adnet.runtime.backends.om_worker import SETS, DeviceWorker

_log = logging.getLogger(__name__)


class OmBackend(Backend):
    """Runs an OM; thread-safe, batches of several threads are spread over the devices.

    Args:
        model: the OM; facts are taken from MODEL.json where it lies beside it.
        options: device (`npu:0` by default, `npu:0,npu:1` for several).

    Raises:
        ModelError: the file is no OM, damaged, or no ADNet.
        BackendUnavailable: CANN or the device is not there, or refuses the model.
    """

    name = "om"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "device")
        numbers = _device_numbers(options.device or "npu:0")
        om = read_om(model)
        if om.is_dynamic:
            raise ModelError(
                f"{model}: made for a range of shapes, which adnet does not run. Convert it with "
                "'adnet-export om --batch ... --size ...', which makes gears."
            )
        acl = load_acl()
        _require_devices(acl, numbers)
        self._soc = soc_name(acl.module) or "unknown"
        with ExitStack() as stack:
            self._workers = []
            for number in numbers:
                worker = _start(acl, number, model, om, self._soc)
                stack.callback(worker.close)
                in_use.add(worker)
                self._workers.append(worker)
            self._model = self._workers[0].model
            card = read_card(model, self._model.spec.channels)
            self._om = om
            self._acl_path = str(getattr(acl.module, "__file__", ""))
            self._is_simulated = is_simulated(acl.module)
            self._queued = [0] * len(numbers)
            self._lost: dict[int, DeviceLostError] = {}
            self._lock = threading.Lock()
            self._release_stack = stack.pop_all()
        # One batch on the chip and one in each other set, and one that its caller still prepares.
        self.lanes = len(numbers) * (SETS + 1)
        super().__init__(card, self._model.spec, ",".join(f"npu:{number}" for number in numbers))

    def _infer(self, batch: Batch) -> Batch:
        while True:
            chosen = self._least_busy()
            try:
                result = self._workers[chosen].submit(batch).result()
            except DeviceLostError as err:
                with self._lock:
                    self._lost[chosen] = err
                if len(self._lost) == len(self._workers):
                    raise
                _log.warning("%s The other devices continue.", err)
            else:
                self.device_seconds = self._workers[chosen].clock.seconds
                require_finite(result, self.name, _HALF_REMEDY, given=batch)
                return result
            finally:
                with self._lock:
                    self._queued[chosen] -= 1

    def _least_busy(self) -> int:
        """Choose a device that still works and count the batch to it.

        Raises:
            DeviceLostError: none is left.
        """
        with self._lock:
            working = [index for index in range(len(self._workers)) if index not in self._lost]
            if not working:
                raise next(iter(self._lost.values()))
            chosen = min(working, key=self._queued.__getitem__)
            self._queued[chosen] += 1
            return chosen

    def _release(self) -> None:
        self._release_stack.close()

    def _precision(self) -> str:
        """Say what the conversion asked for, by the command line that the OM carries."""
        command = self._om.attributes.get("atc_cmdline")
        if command is None:
            return "not recorded"
        found = re.search(r"--?precision_mode(?:_v2)?[= ](\S+)", command)
        return found[1] if found else "ATC's default (fp16)"

    def describe(self) -> dict[str, str]:
        """Tell the chip, how the OM was made, and which pyACL runs it."""
        return {
            "backend": self.name,
            "device": self.device,
            "soc": self._soc,
            "gears": self._model.gear_kind,
            "input": self._model.input_dtype.name,
            "precision": self._precision(),
            "atc_version": self._om.attributes.get("atc_version", "not recorded"),
            "pyacl": self._acl_path,
            **({"simulated": "yes"} if self._is_simulated else {}),
        }


_HALF_REMEDY = (
    "ATC's default computes in float16: convert the model with --precision-mode origin, where the "
    "chip can, or run it on another backend."
)


def _device_numbers(text: str) -> list[int]:
    """Parse `npu`, `npu:1` or `npu:0,npu:1`."""
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"npu(?::(\d+))?", part.strip())
        if match is None:
            raise BackendUnavailable(
                f"om backend: runs on Ascend devices only, such as npu:0 or npu:0,npu:1; got "
                f"device {text!r}."
            )
        numbers.append(int(match[1] or 0))
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"om backend: device {text!r} names one twice.")
    return numbers


def _require_devices(acl: Acl, numbers: list[int]) -> None:
    count = acl.get("rt.get_device_count")
    missing = [f"npu:{number}" for number in numbers if number >= count]
    if missing:
        there = ", ".join(f"npu:{number}" for number in range(count)) or "none"
        raise BackendUnavailable(
            f"om backend: device {', '.join(missing)} is not there; available: {there} "
            "(ASCEND_RT_VISIBLE_DEVICES may hide some)."
        )


def _start(acl: Acl, number: int, model: Path, om: OmFile, soc: str) -> DeviceWorker:
    try:
        return DeviceWorker(acl, number, model)
    except DeviceError as err:
        built_for = om.attributes.get("soc_version")
        chips = ""
        if built_for not in (None, soc):
            chips = f" The OM was built for {built_for}, this device is {soc}."
        raise BackendUnavailable(f"{model}: cannot be run on npu:{number}: {err}{chips}") from err
