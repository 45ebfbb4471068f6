"""Triton's Python backend: an image in, the denoised image out, through `adnet.runtime`.

Copied as 1/model.py into the repository; the server calls it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from adnet.errors import AdnetError, DeviceError, PrecisionError, ShapeError, TooManyPixels
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.in_memory import denoise_file

_PIXELS = ("image", "image_uint16", "image_fp32")
_FILE = "file"
_OURS = (DeviceError, PrecisionError)
"""Errors that are not the request's fault."""


class TritonPythonModel:
    """One copy of the model; Triton calls it from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model that lies beside this file."""
        self._triton = import_module("triton_python_backend_utils")  # only inside the server
        told = json.loads(args["model_config"])["parameters"]
        settings = {key: value["string_value"] for key, value in told.items()}
        self._max_pixels = int(settings["max_pixels"])
        threads = settings.get("threads")
        self._denoiser = Denoiser(
            Path(__file__).with_name(settings["model_file"]),
            threads=None if threads is None else int(threads),
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request on its own: one that fails does not harm the others."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Release the model."""
        self._denoiser.close()

    def _answer(self, request: Any) -> Any:
        try:
            return self._triton.InferenceResponse([self._denoise(request)])
        except AdnetError as err:
            kind = "INTERNAL" if isinstance(err, _OURS) else "INVALID_ARG"
            return self._failure(str(err), kind)
        except Exception:  # one bad request must not stop the server
            logging.getLogger(__name__).exception("adnet: a request failed")
            return self._failure("unexpected error, see the server's log", "INTERNAL")

    def _denoise(self, request: Any) -> Any:
        given = {name: self._triton.get_input_tensor_by_name(request, name)
                 for name in (*_PIXELS, _FILE)}  # fmt: skip
        given = {name: tensor for name, tensor in given.items() if tensor is not None}
        if len(given) != 1:
            raise ShapeError(
                f"expected one of the inputs {', '.join((*_PIXELS, _FILE))}, got "
                f"{' and '.join(given) or 'none'}."
            )
        ((name, tensor),) = given.items()
        values = tensor.as_numpy()
        if name == _FILE:
            return self._triton.Tensor("denoised_file", self._file(values))
        height, width = values.shape[:2]
        if height * width > self._max_pixels:
            raise TooManyPixels(
                f"{width}x{height} pixels are more than this server's limit of {self._max_pixels}."
            )
        return self._triton.Tensor(name.replace("image", "denoised"), self._denoiser(values))

    def _file(self, values: Any) -> Any:
        result = denoise_file(bytes(values[0]), self._denoiser, max_pixels=self._max_pixels)
        return np.array([result.data], np.object_)

    def _failure(self, message: str, kind: str) -> Any:
        error = self._triton.TritonError(message, getattr(self._triton.TritonError, kind))
        return self._triton.InferenceResponse([], error)
