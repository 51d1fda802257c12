"""Carries what readers learn of the API from one process to another: without it, each would doubt what others know."""

from exporter.contract import Instant
from exporter.pipeline.reader import Reader
from exporter.run.share import Learned


def learned_of(reader: Reader) -> Learned:
    """Returns what a reader has learned, whichever of its lists has shown it."""
    lists = reader.lists.values()
    return Learned(
        cuts_at_random=any(traits.cuts_at_random for traits in lists),
        ends_late=any(traits.filter_order.ends_late for traits in lists),
    )


def teach(reader: Reader, learned: Learned, lowest: Instant, *, has_several: bool) -> None:
    """Tells a reader what others have learned, beside what it knows itself, and the time of the `lowest` row that was
    shown of the whole list. There are rows enough to expect more than one if the list `has_several`."""
    reader.traits.lowest = min(reader.traits.lowest, lowest)
    for traits in (reader.traits, *reader.lists.values()):
        traits.cuts_at_random |= learned.cuts_at_random
        traits.filter_order.ends_late |= learned.ends_late
    if has_several:
        reader.traits.shown.expect_several()
