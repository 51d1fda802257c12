"""Defines what a state tells about the fields that came by id."""

import msgspec


class Hydrated(msgspec.Struct, frozen=True, kw_only=True):
    """Says what came by id because the list left it out: which `fields`, and how often, counted over all runs.

    `rows` came with a field that they lacked. `gone` were answered with 404, and stayed as they were listed; `lacking`
    were answered in another way that brought nothing.
    """

    fields: tuple[str, ...] = ()
    rows: int = 0
    gone: int = 0
    lacking: int = 0
