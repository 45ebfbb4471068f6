"""What ATC's error codes mean for somebody who converts ADNet, and what to do.

Texts changed between CANN releases, codes did not (GE, error_registry.cc): only codes are matched.
"""

from __future__ import annotations

import re

_CODE = re.compile(r"\b(E[0-9A-Z]\d{4})\b")
_NOISE = re.compile(r"^(?:\[PID: \d+\]|[\d\-:.]{15,}|\s|[\w]+\(E[0-9A-Z]\d{4}\):|E[0-9A-Z]\d{4}:)+")

_REMEDIES = {
    "E10001": "ATC refuses a value; the text names it.",
    "E10016": "The ONNX file's input has another name; export it with adnet-export onnx.",
    "E10035": "ATC wants at least two gears; give one batch and one size for a static model.",
    "E10036": "Give fewer batches or sizes.",
    "E10052": "AIPP does not fit the model; convert with --io fp32, and report this.",
    "E10054": "An argument arrived empty; report this with the log.",
    "E10501": "The operators of CANN are not found: source set_env.sh, and install the ops package "
    "of the chip (CANN 8.5 and later).",
    "E13018": "ATC cannot read the AIPP file; report this with the log.",
    "E16002": "CANN does not know this opset: export the ONNX again with --opset 11.",
    "E16005": "The ONNX carries several opset domains; export it with adnet-export onnx.",
    "E19010": "CANN does not know this opset: export the ONNX again with --opset 11.",
    "E19999": "An inner error of ATC: often the chip's ops package is missing, or Python packages "
    "that its compiler imports (numpy<2, decorator, attrs, psutil, scipy, cloudpickle).",
    "EZ9999": "An inner error of ATC's compiler: the log has its Python traceback.",
    "EL0004": "The machine ran out of memory: set TE_PARALLEL_COMPILER=1, or convert on a larger "
    "one; ATC needs no NPU.",
}


def explain(log: str) -> tuple[str, str, str]:
    """Find the error in ATC's output.

    Three layouts are known: `E16005: text` (CANN 5), `EE1001: [PID: 1] time text` (CANN 6 to 8.3),
    `[PID: 1] time Name(EL0004): text` (CANN 8.5 and later).

    Returns:
        Code, ATC's text and what to do; the code is empty where there is none.
    """
    for line in log.splitlines():
        found = _CODE.search(line)
        if found is not None:
            code = found[1]
            text = _NOISE.sub("", line).strip() or line.strip()
            return code, text, _REMEDIES.get(code, "The log has the details.")
    for line in log.splitlines():
        if line.startswith("ERROR:"):
            remedy = "This ATC does not know an argument; leave the option out."
            return "", line.removeprefix("ERROR:").strip(), remedy
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", log)
    if missing is not None:
        return "", missing[0], f"ATC's compiler needs it: pip install {missing[1]}."
    last = [line.strip() for line in log.splitlines() if line.strip()]
    return "", last[-1] if last else "no output", "Is the environment set (set_env.sh)?"
