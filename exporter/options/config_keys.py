"""Names keys of a config file that commands know also where there is none."""

from typing import Final

HOOKS: Final = "hooks"
METRICS_FILE: Final = "metrics_file"
FILTERS: Final = "filters"
SYNC_KEYS: Final = ("refilter", "keep_generations")
#: The options of which only one may say where the token is. Without any, it is in the environment.
TOKEN_OPTIONS: Final = ("token", "token_file", "token_command")
#: Keys of which one is given at most: what gives one of them replaces another below it.
ALTERNATIVES: Final = (
    ("since", "created_after"),
    ("until", "created_before"),
    ("fields", "exclude_fields"),
    TOKEN_OPTIONS,
)


def alternatives_of(key: str) -> tuple[str, ...]:
    """Returns the keys that are not given together with this one, and itself."""
    return next((group for group in ALTERNATIVES if key in group), (key,))
