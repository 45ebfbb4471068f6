"""onnxsim behind one function."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import onnx
import onnxsim

from adnet.errors import ExportError
from adnet.models.onnx_file import metadata_of, read_onnx, set_metadata


def simplify_onnx(source: Path, target: Path) -> None:
    """Simplify an ONNX file into another one; onnxsim runs both and compares the outputs.

    Raises:
        ExportError: onnxsim failed, or its own comparison did.
    """
    model = read_onnx(source)
    shapes = {
        tensor.name: [dim.dim_value or fill for dim, fill in zip(
            tensor.type.tensor_type.shape.dim, (1, 1, 32, 40), strict=True)]
        for tensor in model.graph.input
    }  # fmt: skip
    try:
        with redirect_stdout(StringIO()):  # onnxsim prints its progress; stdout is the caller's
            simplified, equal = onnxsim.simplify(model, check_n=1, test_input_shapes=shapes)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as err:
        raise ExportError(f"onnxsim failed: {err}. --no-simplify leaves it out.") from err
    if not equal:
        raise ExportError("onnxsim changed the result of the model; --no-simplify leaves it out.")
    # onnxsim may drop what it does not need; the card must stay.
    set_metadata(simplified, metadata_of(model))
    onnx.save(simplified, target)
