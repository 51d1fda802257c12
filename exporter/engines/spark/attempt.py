"""Runs the work of a task where Spark has brought it, and tells why one failed. Needs no pyspark."""

import re
from importlib import import_module
from typing import Final

from exporter.errors import EngineError

_PYTHON_ERROR: Final = re.compile(r"^\s*((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt): .*)$", re.MULTILINE)
_MOST_CHARACTERS: Final = 300


def attempted(work: str, task: bytes) -> tuple[bool, bytes]:
    """Returns what the function `work`, as `module:name`, makes of a task, or False and why it has failed.

    Nothing is raised: Spark would try the same again, and show what an unexpected error quotes.
    """
    module, _, name = work.partition(":")
    try:
        answer: bytes = getattr(import_module(module), name)(task)
    except EngineError as error:
        return False, str(error).encode()
    except Exception as error:  # noqa: BLE001 - its message may quote what was read
        return False, f"a task ended with {type(error).__name__} where Spark ran it".encode()
    return True, answer


def reason_of(error: BaseException) -> str:
    """Returns in one line what an error of Spark says: the error of Python in it, if there is one."""
    text = str(getattr(error, "java_exception", None) or error)
    own = [found for found in _PYTHON_ERROR.findall(text) if not found.startswith(("org.", "java."))]
    line = own[-1] if own else text.strip().partition("\n")[0]
    if "No module named 'exporter'" in line:
        line += ". Install exporter on every executor, and let PYSPARK_PYTHON name that Python"
    return " ".join(line.split())[:_MOST_CHARACTERS]
