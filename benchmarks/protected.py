"""Runs the command line in this process, and protects all rows.

    python -m benchmarks.protected all|other export …

`other` leaves transcripts as they are served.
"""

import sys

from benchmarks.privacy_clocks import KEY, OTHER_RULES, TRANSCRIPT_RULES, policy_of
from exporter.cli import main
from exporter.encode.protect.protector import Protector
from exporter.encode.tables import Tables
from exporter.settings import Request

_made = Tables.of


def _protected(request: Request, protector: Protector | None = None) -> Tables:
    return _made(request, protector or _protector)


if __name__ == "__main__":
    rules = {**OTHER_RULES, **(TRANSCRIPT_RULES if sys.argv[1] == "all" else {})}
    _protector = Protector(policy_of(rules), KEY)
    Tables.of = _protected  # type: ignore[method-assign,assignment]  # that is what this program is for
    sys.exit(main(sys.argv[2:]))
