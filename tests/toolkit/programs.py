"""Finds the programs besides Python that tests run, which a machine may not have."""

import os
import shutil
from typing import NoReturn

import pytest


def find_program(name: str, install: str, *directories: str) -> str:
    """Returns the path of a program, which may also be in `directories`.

    If it is missing, the test is skipped, or fails if `CI` is true; the reason names the command `install`.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *directories]))
    if found is None:
        do_without(f"{name} is not installed: {install}")
    return found


def do_without(reason: str) -> NoReturn:
    """Skips the test, whose `reason` says what is missing and how to install it; if `CI` is true, fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
