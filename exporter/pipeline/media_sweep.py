"""Finds media that no row names: a killed run leaves it, and so does a row that is replaced."""

from collections import defaultdict
from collections.abc import Iterable

from anyio import to_thread

from exporter.layout import MEDIA, is_media, media_directory
from exporter.log.state import State
from exporter.partitions import Partition
from exporter.parts.integrity import opened
from exporter.parts.recordings import media_in
from exporter.store.base import Store


async def find_media_garbage(store: Store, state: State, partitions: Iterable[Partition] | None = None) -> list[str]:
    """Returns the media in these partitions (None: in all) that no live row names.

    It must be deleted only under the destination's lock, while no run adds rows, and after the manifest was brought up
    to date. Raises `StoreError`, also if a part cannot be read, because then nobody knows what it names.
    """
    places = [MEDIA] if partitions is None else [media_directory(partition) for partition in partitions]
    there: defaultdict[str, set[str]] = defaultdict(set)
    for place in places:
        for path in filter(is_media, await store.list(place)):
            there[path.rpartition("/")[0]].add(path)
    for file in state.recordings if there else ():
        if found := there.get(media_directory(file.partition)):
            async with opened(store, file) as part:
                found -= await to_thread.run_sync(media_in, part)
    return sorted(path for left in there.values() for path in left)
