"""Runs the command line in this process, and protects rows.

    python -m benchmarks.protected all|other|without export …

`other` leaves transcripts as they are served, and `without` everything.
"""

import sys

from benchmarks.privacy_clocks import KEY, OTHER_RULES, TRANSCRIPT_RULES, policy_of
from exporter.cli import main
from exporter.encode.batch import NO_FLOORS
from exporter.encode.protect.protector import Protector
from exporter.encode.tables import Tables
from exporter.privacy import Floors
from exporter.settings import Request

_made = Tables.of


def _protected(request: Request, protector: Protector | None = None, floors: Floors = NO_FLOORS) -> Tables:
    return _made(request, protector or _protector, floors)


if __name__ == "__main__":
    rules = {**OTHER_RULES, **(TRANSCRIPT_RULES if sys.argv[1] == "all" else {})}
    _protector = Protector(policy_of(rules), KEY)
    if sys.argv[1] != "without":
        Tables.of = _protected  # type: ignore[method-assign]  # that is what this program is for
    sys.exit(main(sys.argv[2:]))
