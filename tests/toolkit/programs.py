"""Finds the programs besides Python that tests run, which a machine may not have."""

import os
import shutil

import pytest


def find_program(name: str, install: str, *directories: str) -> str:
    """Returns the path of a program, which may also be in `directories`.

    If it is missing, the test is skipped, or fails if `CI` is true; the reason names the command `install`.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *directories]))
    if found is not None:
        return found
    reason = f"{name} is not installed: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
