"""Pages on which no row says when it was created. Such rows are with the row before them, otherwise with the next."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from exporter.contract import Instant
from exporter.encode.decode import DecodedPage
from exporter.errors import TooLargeError, UnplacedError
from exporter.model import PageRequest

#: How far to look for a row that says when it was created, in rows and bytes.
_FOLLOWING_ROWS: Final = 100
_FOLLOWING_BYTES: Final = 4_000_000
#: More of them may be a full page of a server that answers with fewer rows than it is asked for.
_MOST_NULLS: Final = 9


async def when(
    request: PageRequest, unplaced: UnplacedError, ask: Callable[[PageRequest, int], Awaitable[DecodedPage]]
) -> Instant | None:
    """Returns when the rows of a page, the answer to `request`, were created, by what follows them; None: they are
    nothing.

    Where the list may go on, `ask` is asked for what comes next, in at most this many bytes. Where it is over, a few
    elements that are null are nothing. Raises `UnplacedError` for anything else.
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
