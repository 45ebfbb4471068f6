"""A backend of another package, as its author wrote it for adnet 0.1.0."""

from adnet.runtime.registry import BackendEntry

ENTRY = BackendEntry("adnet_inverse.backend:InverseBackend", (".inverse",), "pip install inverse")
