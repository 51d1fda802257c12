"""Places pages on which no row says when it was created: with the row before them, otherwise with the next one."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from exporter.contract import Instant
from exporter.encode.decoded import DecodedPage
from exporter.errors import TooLargeError, UnplacedError
from exporter.model import PageRequest

#: The rows and bytes that are searched for a row that says when it was created.
_FOLLOWING_ROWS: Final = 100
_FOLLOWING_BYTES: Final = 4_000_000
#: The most nulls that end a list. More may be a full page of a server that answers with fewer rows than asked for.
_MOST_NULLS: Final = 9


async def when(
    request: PageRequest, unplaced: UnplacedError, ask: Callable[[PageRequest, int], Awaitable[DecodedPage]]
) -> Instant | None:
    """Returns when the rows on the page that answers `request` were created, judged by what follows them.

    If the list may go on, `ask` is asked for what comes next, in at most this many bytes. At the end of the list, a few
    elements that are null count as no rows, and None is returned. Raises `UnplacedError` for anything else.
    """
    if unplaced.rows >= request.limit:
        try:
            following = await ask(replace(request, limit=_FOLLOWING_ROWS, ids_only=True), _FOLLOWING_BYTES)
        except UnplacedError as error:
            unplaced = error
        except TooLargeError:
            raise unplaced from None
        else:
            if following.page:
                return following.page.rows.created_at[0]
    if unplaced.is_nothing and unplaced.rows <= _MOST_NULLS:
        return None
    raise unplaced
