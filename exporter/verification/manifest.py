"""Compares a stored manifest with what the log says. Pure."""

import json
from typing import Any

from exporter.log.stamp import STAMP


def differing_keys(manifest: bytes, expected: bytes, *, is_ours: bool) -> list[str] | None:
    """Returns the keys in which two manifests differ; None if `manifest` is not JSON that an exporter wrote.

    Unless this version of the exporter wrote it (`is_ours`), keys and columns that are expected may be missing from it.
    """
    try:
        found = json.loads(manifest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    truth = json.loads(expected)
    # A stamp is that of a version, and says nothing of the export.
    found.pop(STAMP, None)
    truth.pop(STAMP, None)
    if not is_ours:
        truth = _known_to(found, truth)
    return [key for key in {**truth, **found} if key not in found or key not in truth or found[key] != truth[key]]


def _known_to(found: Any, truth: Any) -> Any:
    """Returns what another version, which wrote `found`, could say of `truth`."""
    if isinstance(truth, dict) and isinstance(found, dict):
        return {key: _known_to(found[key], value) for key, value in truth.items() if key in found}
    if isinstance(truth, list) and isinstance(found, list):
        names = {one.get("name") for one in found if isinstance(one, dict)}
        known = [one for one in truth if not isinstance(one, dict) or one.get("name") in names]
        if len(known) == len(found):
            return [_known_to(*pair) for pair in zip(found, known, strict=True)]
    return truth
