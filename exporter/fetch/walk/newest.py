"""Checks that a list is answered newest first, where nothing else shows it. Plain data and decisions, without I/O."""

from collections.abc import Generator
from typing import Final

from exporter.contract import MAX_PAGE_SIZE, MILLISECOND, SECOND, Instant
from exporter.errors import ContradictionError
from exporter.model import Page, PageRequest, RowT

#: How far above a row others are served as newer, if they are served in microseconds, milliseconds or seconds, cut or
#: rounded.
_BEYOND: Final = (1, MILLISECOND // 2, MILLISECOND, SECOND // 2, SECOND)


def check_newest(
    top: Page[RowT], highest: Instant, longer: PageRequest | None = None
) -> Generator[PageRequest, Page[RowT], None]:
    """Checks that a list is not answered oldest first, where it is believed to begin with the rows of `top`.

    No known row has come back then that would show it, and what an earlier answer has shown may have changed. A page of
    two times shows its own order, and so may the answer to `longer`, which asks for more rows below. For one of a
    single time, newer rows are asked for. Where less than is stored is served, a row that is newer may seem not to be:
    then they are asked for from further up. If even then the same rows come, the bound is not looked at, and no answer
    may have shown a row above them: the `highest` that was shown must be theirs.
    """
    newest, oldest = top.rows.created_at[0], top.rows.created_at[-1]
    if newest > oldest:
        return
    if longer is not None and (times := (yield longer).rows.created_at) and times[0] > times[-1]:
        return
    for distance in _BEYOND:
        newer = yield PageRequest(MAX_PAGE_SIZE, created_after=newest + distance, ids_only=True)
        if not newer:
            return
        if newer.rows.created_at[0] > newest:
            first = yield PageRequest(MAX_PAGE_SIZE, ids_only=True)
            if not first or first.rows.created_at[0] <= newest:
                raise _contradiction()
            return
    if highest > newest:
        raise _contradiction()


def _contradiction() -> ContradictionError:
    return ContradictionError("the API did not answer newest first")
