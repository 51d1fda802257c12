"""Holds the parts of an export as columns: no object stands for a part until somebody asks for it. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import compress
from operator import attrgetter
from typing import Any, Final, Self

import msgspec

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.layout import partition_text
from exporter.model import DataFile


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Holds what many parts have in common; the `directory` of their paths ends with `/`."""

    directory: str
    table: str
    partition: dict[str, str]
    policy: str
    key: str


class Tally(msgspec.Struct, array_like=True, frozen=True):
    """Holds what was counted by name, which is the same for many parts."""

    absent: dict[str, int]
    statuses: dict[str, int]


class Columns(msgspec.Struct, dict=True):
    """Holds parts in their order; `place` and `tally` are positions among what several share, and `name` is what
    follows the directory of a path. Never changes, and neither does what it returns."""

    places: list[Place] = []
    tallies: list[Tally] = []
    place: list[int] = []
    tally: list[int] = []
    name: list[str] = []
    sha256: list[str] = []
    rows: list[int] = []
    size_bytes: list[int] = []
    window_start: list[Instant] = []
    window_end: list[Instant] = []
    created_at_min: list[Instant] = []
    created_at_max: list[Instant] = []
    withheld_rows: list[int] = []
    open_rows: list[int] = []
    recorded_rows: list[int | None] = []
    unrecorded_rows: list[int | None] = []
    media_files: list[int] = []
    media_bytes: list[int] = []

    def __len__(self) -> int:
        return len(self.name)

    def check(self) -> None:
        """Raises `ValueError` for columns of different lengths, or positions that nothing has."""
        lengths = {len(getattr(self, name)) for name in _OWN}
        if len(lengths) > 1 or not (_are_in(self.place, self.places) and _are_in(self.tally, self.tallies)):
            raise ValueError("the columns do not fit one another")
        for start, end in zip(self.window_start, self.window_end, strict=True):
            if start >= end:
                raise ValueError("an empty window")

    def column(self, name: str) -> Sequence[Any]:
        """Returns the values of an attribute of `DataFile`, also `window.start`, `window.end` and `partition_text`."""
        if name == "path":
            return self.paths
        if name in _OF_PLACES:
            of_places = [_OF_PLACES[name](place) for place in self.places]
            return [of_places[place] for place in self.place]
        if name in _OF_TALLIES:
            of_tallies = [getattr(tally, name) for tally in self.tallies]
            return [of_tallies[tally] for tally in self.tally]
        found: list[Any] = getattr(self, name.replace(".", "_"))
        return found

    @cached_property
    def paths(self) -> list[str]:
        directories = [place.directory for place in self.places]
        return [directories[place] + name for place, name in zip(self.place, self.name, strict=True)]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Returns the position of each part by its path."""
        return dict(zip(self.paths, range(len(self)), strict=True))

    @cached_property
    def parts(self) -> list[DataFile]:
        """Returns all parts as objects."""
        return list(self._parts())

    def part(self, position: int) -> DataFile:
        """Returns one part as an object."""
        if "parts" in self.__dict__:
            return self.parts[position]
        own = {name: [column[position]] for name, column in self._own()}
        return next(msgspec.structs.replace(self, **own)._parts())

    def without(self, positions: Iterable[int]) -> Self:
        """Returns the other parts."""
        stays = bytearray(b"\1") * len(self)
        for position in positions:
            stays[position] = 0
        return msgspec.structs.replace(self, **{name: list(compress(column, stays)) for name, column in self._own()})

    def followed_by(self, parts: Iterable[DataFile]) -> Self:
        """Returns these parts and others; what none of them shares any longer is left out."""
        more = list(parts)
        places, tallies = _Shared(self.places, self.place), _Shared(self.tallies, self.tally)
        own = {
            name: [*column, *(_VALUES[name](file) for file in more)] for name, column in self._own() if name in _VALUES
        }
        for file in more:
            directory = file.path[: file.path.rfind("/") + 1]
            places.add(Place(directory, file.table, file.partition, file.policy, file.key))
            tallies.add(Tally(file.absent, file.statuses))
        return type(self)(
            places=places.values, tallies=tallies.values, place=places.positions, tally=tallies.positions, **own
        )

    def _own(self) -> Iterator[tuple[str, list[Any]]]:
        return ((name, getattr(self, name)) for name in _OWN)

    def _parts(self) -> Iterator[DataFile]:
        places, tallies = self.places, self.tallies
        own = (self.paths, *(column for name, column in self._own() if name != "name"))
        for (
            path,
            place,
            tally,
            sha256,
            rows,
            size,
            start,
            end,
            first,
            last,
            withheld,
            opened,
            yes,
            no,
            media,
            sound,
        ) in zip(*own, strict=True):
            shared, counted = places[place], tallies[tally]
            yield DataFile(
                path=path,
                rows=rows,
                size_bytes=size,
                sha256=sha256,
                window=Interval(start, end),
                table=shared.table,
                partition=shared.partition,
                created_at_min=first,
                created_at_max=last,
                absent=counted.absent,
                withheld_rows=withheld,
                open_rows=opened,
                recorded_rows=yes,
                unrecorded_rows=no,
                statuses=counted.statuses,
                media_files=media,
                media_bytes=sound,
                policy=shared.policy,
                key=shared.key,
            )


class _Shared:
    """Numbers values in the order in which they are first met."""

    def __init__(self, known: Sequence[Any], positions: Sequence[int]) -> None:
        order: dict[int, int] = {}
        self.positions = [order.setdefault(position, len(order)) for position in positions]
        self.values = [known[position] for position in order]
        self._numbers = {_key(value): number for number, value in enumerate(self.values)}

    def add(self, value: Any) -> None:
        number = self._numbers.setdefault(_key(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        self.positions.append(number)


def _key(value: Place | Tally) -> object:
    members = (getattr(value, name) for name in value.__struct_fields__)
    return tuple(tuple(member.items()) if isinstance(member, dict) else member for member in members)


def _are_in(positions: Sequence[int], values: Sequence[object]) -> bool:
    return not positions or (min(positions) >= 0 and max(positions) < len(values))


#: What each column holds of a part that is an object.
_VALUES: Final[dict[str, Callable[[DataFile], Any]]] = {
    "name": lambda file: file.path[file.path.rfind("/") + 1 :],
    "window_start": lambda file: file.window.start,
    "window_end": lambda file: file.window.end,
    **{name: attrgetter(name) for name in Columns.__struct_fields__[5:] if name not in ("window_start", "window_end")},
}
_OWN: Final = Columns.__struct_fields__[2:]
_OF_TALLIES: Final = frozenset(Tally.__struct_fields__)
_OF_PLACES: Final[dict[str, Callable[[Place], Any]]] = {
    "table": lambda place: place.table,
    "partition": lambda place: place.partition,
    "partition_text": lambda place: partition_text(place.partition),
    "policy": lambda place: place.policy,
    "key": lambda place: place.key,
}
