"""Every error that adnet raises on purpose.

    AdnetError
    ├── UsageError            the request itself is wrong (bad option, missing input)
    │   └── BackendUnavailable   the asked-for backend, provider or device is not there
    ├── ImageError            an image file cannot be read or written as asked
    │   └── TooManyPixels        it is larger than the limit
    ├── ModelError            a model file is missing, unreadable or not an ADNet
    │   └── CheckpointError      the same, for PyTorch checkpoints
    ├── ShapeError            an array or tile does not fit what the model accepts
    ├── ExportError           a conversion failed
    │   └── ParityError          the converted model does not equal the original
    ├── PrecisionError        a result is not finite: half precision overflowed, or the model is bad
    ├── DeviceError           a device failed while it was opened or worked
    │   ├── DeviceLostError      it will not work again in this process
    │   └── NotEnoughMemory      what was asked for does not fit into its memory
    ├── TrainingError         training cannot start or go on
    └── FetchError            a file cannot be downloaded as it should be

A message says what failed, what was expected, what was got and what to do.
"""

from __future__ import annotations


class AdnetError(Exception):
    """Base class; catch it to catch everything adnet raises on purpose."""

    exit_status: int = 1
    """What a command line program exits with: 1 the work failed, 2 it could not start."""


class UsageError(AdnetError):
    """The request cannot be carried out as it was made."""

    exit_status = 2


class BackendUnavailable(UsageError):
    """The backend, execution provider or device that was asked for cannot be used here."""


class ImageError(AdnetError):
    """An image cannot be read or written without losing something."""


class TooManyPixels(ImageError):
    """An image is larger than the limit on pixels; nothing of it was decoded."""


class ModelError(AdnetError):
    """A model file is missing, damaged or holds something other than ADNet."""

    exit_status = 2


class CheckpointError(ModelError):
    """A PyTorch checkpoint is damaged, unsafe or holds another network."""


class ShapeError(AdnetError):
    """An array, batch or tile does not fit the model or the call."""


class ExportError(AdnetError):
    """A model could not be converted."""


class ParityError(ExportError):
    """A converted model does not compute what the original computes."""


class PrecisionError(AdnetError):
    """A result is not finite, of half precision most often; nothing is written."""


class DeviceError(AdnetError):
    """A device failed while it was opened or worked.

    Attributes:
        code: the driver's error code; None when it gave none.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class DeviceLostError(DeviceError):
    """A device failed in a way that it does not recover from; what comes next would fail, too."""


class NotEnoughMemory(DeviceError):
    """The machine or device has too little free memory for this; less at once may fit."""


class TrainingError(AdnetError):
    """Training cannot start or cannot go on."""


class FetchError(AdnetError):
    """A file cannot be downloaded, or is not what it should be."""
