"""Collects what an exception may disclose."""

from collections.abc import Iterator
from pathlib import Path

import exporter

_EXPORTER = str(Path(exporter.__file__).parent)


def everything_said(error: BaseException) -> Iterator[str]:
    """Yields what a log, a crash report or a debugger could print of an exception, and of all that it is chained to.

    This includes the variables, in its traceback, of the exporter and of the libraries it calls.
    """
    queue: list[BaseException | None] = [error]
    while queue:
        found = queue.pop()
        if found is None:
            continue
        yield from (str(found), repr(found), repr(found.args), repr(vars(found)))
        for value in (*found.args, *vars(found).values()):
            yield repr(value)
            yield repr(getattr(value, "headers", ""))
        step = found.__traceback__
        while step is not None:
            file = step.tb_frame.f_code.co_filename
            if file.startswith(_EXPORTER) or "site-packages" in file:
                yield from (f"{file}: {name} = {value!r}" for name, value in step.tb_frame.f_locals.items())
            step = step.tb_next
        queue += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]
