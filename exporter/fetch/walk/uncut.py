"""Shows by a longer page that no limit has cut a list of ids. Plain data and decisions, without I/O."""

from typing import Final

from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, MAX_PAGE_SIZE
from exporter.fetch.walk.rows import ids_of
from exporter.fetch.walk.traits import AskingWhether, Traits, is_longer
from exporter.model import Page, PageRequest, RowT

#: The distance above the newest row to ask from: further than a zone or a day by which bounds may be misread.
_FAR_ABOVE: Final = 2 * DAY


def shown_uncut(listing: Page[RowT], traits: Traits, status: str | None) -> AskingWhether[RowT]:
    """Returns whether a later page, much longer than `listing`, a list of ids, shows that no limit can have cut it (4).

    The page is asked for with bounds where `listing` was, which lie above all, and with the `status` that `listing` was
    asked for only if nothing is listed without it. The only row of an organization is taken for all of them, though no
    longer page exists: a page of ids is trusted to hold two rows, unless there have been two. Then the limit may have
    fallen since.
    """
    if len(listing) >= listing.limit:
        return False
    top = max([*listing.rows.created_at[:1], *traits.newest.values()], default=BEGINNING) + _FAR_ABOVE
    has_bound, has_cursor = listing.bounds
    longest = PageRequest(
        MAX_PAGE_SIZE,
        created_before=top if has_bound else None,
        before_cursor=top + 1 if has_cursor else None,
        filtered=False,
        ids_only=True,
    )
    newest = yield longest
    if not newest and status is not None:
        longest = replace(longest, status=status)
        newest = yield longest
    if is_longer(newest, listing):
        return True
    if len(newest) > len(listing):
        # A few more ids weigh little: whole rows weigh enough.
        return is_longer((yield replace(longest, ids_only=False, entire=True)), listing)
    if len(newest) != 1 or len(listing) != 1 or not newest.is_narrow or traits.shown.are_several(status):
        return False
    time = newest.rows.created_at[0]
    for before in (time - 1, time - traits.unit // 2 - 1):
        older = yield replace(longest, created_before=before, before_cursor=before + 1)
        # A server that rounds also shows the row below its own time.
        if ids_of(older) - ids_of(newest):
            return False
    return True
