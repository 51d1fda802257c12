"""Remembers what a bucket has listed, and from where to where, so that a run lists nothing twice. Pure.

A store lists all objects in the order of their keys, about a thousand at a time, from any key on. So one request tells
of several small directories, and a large one between two others is passed over by a request that starts behind it.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

#: No path is behind this.
END: Final = "\U0010ffff"


class Page(NamedTuple):
    """Holds the sizes of all objects behind the path `after`, up to the path `until`: the last one, or `END`."""

    after: str
    until: str
    sizes: Mapping[str, int]


class Listing:
    """Holds pages."""

    def __init__(self) -> None:
        self._pages: list[Page] = []

    def add(self, page: Page) -> None:
        self._pages.append(page)
        self._pages.sort(key=lambda page: page.after)

    def forget(self, after: str) -> None:
        """Forgets everything behind the path `after`."""
        self._pages = [page._replace(until=min(page.until, after)) for page in self._pages if page.after < after]

    def unseen(self, directory: str, after: str = "") -> str | None:
        """Returns the path behind which to list on, to see everything in the directory and below, behind the path
        `after`; None if all of that was seen."""
        at = max(directory, after)
        for page in self._pages:
            if page.after <= at < page.until:
                at = page.until
        # In the order of keys, the character behind the slash is a zero.
        return at if at < f"{directory}0" else None

    def sizes(self, directories: Collection[str]) -> dict[str, int]:
        """Returns the sizes of what was seen in several directories and below."""
        within = tuple(f"{directory}/" for directory in directories)
        return {
            path: size
            for page in self._pages
            for path, size in page.sizes.items()
            if path <= page.until and path.startswith(within)
        }
