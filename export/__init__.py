"""Conversion of checkpoints into deployable models: artefact in, artefact out."""
