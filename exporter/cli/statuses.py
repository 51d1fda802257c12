"""Names the exit statuses of each command, for the end of its `--help` and for the manual."""

from typing import Final

_USAGE: Final = "the command line, the environment or the destination is wrong; nothing was touched"
_NO_EXPORT: Final = "the command line is wrong, or DEST holds no export; nothing was touched"
_DAMAGE: Final = "a file, the log or a table is damaged, or was changed by others"
_TOKEN: Final = "the token was refused, or lacks a scope"  # noqa: S105 - no secret
_LOCKED: Final = "another run holds the destination"
_STORE: Final = "the destination cannot be read or written; run again once it can"

_READING: Final[dict[int, str]] = {
    0: "complete, and proven or accepted",
    1: "failed, or not complete: run again to resume, unless the message says that this will not help",
    2: _USAGE,
    3: "all was read, and there is a doubt that nobody has accepted",
    4: _TOKEN,
    5: _LOCKED,
    6: _DAMAGE,
    130: "interrupted: run again to resume",
}
_UPKEEP: Final[dict[int, str]] = {
    1: _STORE,
    2: _NO_EXPORT,
    5: _LOCKED,
    6: _DAMAGE,
    130: "interrupted: run again to continue",
}
_PRINTING: Final[dict[int, str]] = {1: _STORE, 2: _NO_EXPORT, 6: _DAMAGE}

#: What each exit status of a command means, by command, ascending.
STATUSES: Final[dict[str, dict[int, str]]] = {
    "export": _READING,
    "sync": _READING,
    "demo": _READING,
    "reread": {**_READING, 3: "as for an export; or rows were kept that the API no longer lists"},
    "recordings": {
        0: "every recording is kept, gone from the source, or was refused before",
        1: "some failed or expired, or are left: run again to get them; or the API or the destination failed",
        2: _NO_EXPORT,
        3: "some were refused for good now, are lost to --recording-retention, or lie where an option must allow it",
        4: _TOKEN,
        5: _LOCKED,
        6: _DAMAGE,
        130: "interrupted: run again to go on",
    },
    "recordings cat": {
        0: "the audio is written, whole and as it was stored",
        1: "DEST, or stdout, cannot be read or written",
        2: "the command line is wrong, no audio of ID is stored, DEST holds no export, or the key is missing or wrong",
        6: _DAMAGE,
        130: "interrupted: what was written is not whole",
    },
    "changes": {
        0: "all changes are given, which may be none",
        1: "DEST cannot be read, the output cannot be written, or another command changed DEST meanwhile: run again",
        2: "the command line or the key is wrong, DEST holds no export, or its changes since then are no longer known",
        6: _DAMAGE,
        130: "interrupted: no file was written; run again",
    },
    "run": {
        0: "every export is complete, and proven or accepted",
        1: "one failed or was killed, and nothing worse happened: run again to resume",
        2: "the command line or the config file is wrong; or an export's options or destination are",
        3: "every export was read, and one has a doubt that nobody has accepted",
        4: "the token of an export was refused, or lacks a scope",
        5: "another run holds the destination of one, and nothing worse happened",
        6: "a file, the log or a table of one is damaged, or was changed by others",
        130: "interrupted: run again to resume",
    },
    "check": {
        0: "ready for a run; what is worth a look is a warning",
        1: "the API or the destination fails; or the disk is full",
        2: "an option, the environment, the destination, the policy or a key is wrong",
        3: "all is there, and the export has a doubt that nobody has accepted",
        4: _TOKEN,
        5: _LOCKED,
        6: _DAMAGE,
        130: "interrupted: nothing was changed",
    },
    "plan": {
        0: "planned",
        1: "the API or the destination failed",
        2: _USAGE,
        4: _TOKEN,
        6: "the log is damaged",
        130: "interrupted: run again to start over",
    },
    "status": {
        0: "shown; with --check: complete, and proven or accepted",
        1: "DEST cannot be read; with --check: not complete, or older than --max-age",
        2: _NO_EXPORT,
        3: "with --check: there is a doubt that nobody has accepted",
        6: "the log is damaged; with --check: also if the last run found damage or a difference",
    },
    "verify": {
        0: "sound, and complete, and proven or accepted; a repair may have mended something",
        1: "not complete; an erasure, protect or rekey is not finished; or something cannot be read here and now",
        2: _NO_EXPORT,
        3: "sound, and there is a doubt that nobody has accepted; or files are encrypted, and the key is not here",
        5: "a repair found another run at work",
        6: "something is damaged, and was not mended",
        130: "interrupted: run again to start over",
    },
    "audit": {
        0: "what was compared is the same, or a repair has made it so",
        1: "the API or the destination failed; or a 404 proves nothing",
        2: "the command line is wrong, or DEST holds no export; or --delete met a list of none of its rows",
        3: "nothing differs, and a time could not be listed whole that nobody has accepted; or a repair leaves a doubt",
        4: _TOKEN,
        5: "a repair found another run at work",
        6: "something differs, and was not repaired; or a file is damaged",
        130: "interrupted: run again to start over",
    },
    "reconcile": {
        0: "the platform's totals are what is here, except for differences that facts of the export explain",
        1: "the API or the destination failed, or the API has no usage summary",
        2: "the command line or the key is wrong, or DEST holds no export",
        3: "a day differs, and nothing that the export knows explains it",
        4: "the token was refused, or lacks the scope billing:manage",
        6: _DAMAGE,
        130: "interrupted: run again to start over",
    },
    "accept": {0: "every doubt is accepted, or there is none", **_UPKEEP},
    "erase": {
        0: "erased, and proven; or nothing held the values",
        1: "the destination failed, or the erasure is in the log and not finished: run again to go on with it",
        2: "the command line is wrong, DEST holds no export, or the key is missing; nothing was touched",
        3: "something is left that the report names",
        5: _LOCKED,
        6: _DAMAGE,
        130: "interrupted: run again to go on",
    },
    "compact": {0: "merged, or nothing to merge", **_UPKEEP},
    "protect": {
        0: "every file follows the policy",
        1: _STORE,
        2: "the command line, the policy or its key is wrong, or DEST holds no export; nothing was touched",
        3: "done, except for files that repairs have put aside",
        5: _LOCKED,
        6: _DAMAGE,
        130: "interrupted: run again to continue",
    },
    "rekey": {
        0: "every file is encrypted with the new key",
        1: _STORE,
        2: "the command line or a key is wrong, or DEST holds no export; nothing was touched",
        3: "done, except for files that repairs have put aside",
        5: _LOCKED,
        6: _DAMAGE,
        130: "interrupted: run again to continue",
    },
    "vacuum": {0: "deleted, or nothing to delete", **_UPKEEP},
    "policy": {
        0: "nothing is wrong with it; what is worth a look is a warning",
        2: "the command line or the policy is wrong: the message names line and column",
    },
    "keygen": {
        0: "made",
        1: "FILE cannot be written",
        2: "the command line is wrong, or FILE is there already; nothing was touched",
    },
    "expire": {0: "deleted, or nothing has expired", **_UPKEEP},
    "schema": {0: "shown", **_PRINTING},
    "convert": {
        0: "written, whole",
        1: "DEST cannot be read, the output cannot be written, or another run replaced what was read: run again",
        2: "the command line or the key is wrong, DEST holds no export, or the output is there already",
        6: _DAMAGE,
        130: "interrupted: nothing was written, except to stdout; run again to start over",
    },
    "sql": {
        0: "answered; a warning on stderr says if the export is not complete",
        1: "DEST cannot be read, the output cannot be written, or another run replaced what was read: ask again",
        2: "the query, the command line or the key is wrong, DEST holds no export, or the output is there already",
        6: "the log is damaged",
        130: "interrupted: nothing was written, except to stdout",
    },
    "report": {
        0: "written, whole; what is missing or in doubt, the page says",
        1: "DEST cannot be read, the page cannot be written, or another run replaced what was read: run again",
        2: "the command line or the key is wrong, DEST holds no export, something else has the name of the page, or a "
        "package is missing",
        6: _DAMAGE,
        130: "interrupted: no file was written; run again",
    },
    "view": {
        0: "shown until Ctrl-C",
        1: "DEST cannot be read, or the port cannot be listened on",
        2: "the command line or the key is wrong, DEST holds no export, or the package duckdb is not installed",
    },
    "sandbox": {0: "served until Ctrl-C", 1: "the address cannot be served on", 2: "the command line is wrong"},
    "help": {0: "shown", 2: "the manual has no such topic"},
    "version": {0: "printed"},
}
