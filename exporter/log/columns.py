"""Holds the parts of an export as columns: no object stands for a part until somebody asks for it. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress
from operator import attrgetter, ge
from types import MappingProxyType
from typing import Any, Final, Self

import msgspec

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


class Columns:
    """Holds parts in their order: `places` and `tallies` are what several share, and `own` are columns, by name.

    `place` and `tally` are positions among the former, and `name` is what follows the directory of a path. Never
    changes, and neither does what it returns.
    """

    def __init__(
        self,
        places: Sequence[Place] = (),
        tallies: Sequence[Tally] = (),
        own: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    ) -> None:
        self.places: Final = places
        self.tallies: Final = tallies
        self.own: Final[Mapping[str, Sequence[Any]]] = {name: own.get(name, ()) for name in _OWN}

    def __len__(self) -> int:
        return len(self.own["name"])

    def check(self) -> None:
        """Raises `ValueError` for columns of different lengths, or positions that nothing has."""
        own = self.own
        lengths = {len(column) for column in own.values()}
        if len(lengths) > 1 or not (_are_in(own["place"], self.places) and _are_in(own["tally"], self.tallies)):
            raise ValueError("the columns do not fit one another")
        if any(map(ge, own["window_start"], own["window_end"])):
            raise ValueError("an empty window")

    def column(self, name: str) -> Sequence[Any]:
        """Returns the values of an attribute of `DataFile`, also `window.start`, `window.end`, `partition_text`, the
        `directory` of the path, and `handle`, the position."""
        if name == "path":
            return self.paths
        if name == "handle":
            return range(len(self))
        if name in _OF_PLACES:
            of_places = [_OF_PLACES[name](place) for place in self.places]
            return [of_places[place] for place in self.own["place"]]
        if name in _OF_TALLIES:
            of_tallies = [getattr(tally, name) for tally in self.tallies]
            return [of_tallies[tally] for tally in self.own["tally"]]
        return self.own[name.replace(".", "_")]

    @cached_property
    def tables(self) -> frozenset[str]:
        """Returns the tables that any place is of."""
        return frozenset(place.table for place in self.places)

    @cached_property
    def paths(self) -> list[str]:
        directories = [place.directory for place in self.places]
        return [directories[place] + name for place, name in zip(self.own["place"], self.own["name"], strict=True)]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Returns the position of each part by its path."""
        return dict(zip(self.paths, range(len(self)), strict=True))

    @cached_property
    def shares(self) -> Counter[tuple[int, int]]:
        """Returns how many parts have each place with each tally."""
        return Counter(zip(self.own["place"], self.own["tally"], strict=True))

    def share(self, position: int) -> tuple[int, int]:
        """Returns the place and the tally of a part."""
        return self.own["place"][position], self.own["tally"][position]

    @cached_property
    def parts(self) -> list[DataFile]:
        """Returns all parts as objects."""
        return list(self._parts())

    def part(self, position: int) -> DataFile:
        """Returns one part as an object."""
        if "parts" in self.__dict__:
            return self.parts[position]
        place, tally = self.share(position)
        own = {name: [column[position]] for name, column in self.own.items()} | {"place": [0], "tally": [0]}
        return next(type(self)([self.places[place]], [self.tallies[tally]], own)._parts())

    def without(self, positions: Iterable[int]) -> Self:
        """Returns the other parts."""
        stays = bytearray(b"\1") * len(self)
        for position in positions:
            stays[position] = 0
        own = {name: list(compress(column, stays)) for name, column in self.own.items()}
        return type(self)(self.places, self.tallies, own)

    def followed_by(self, parts: Iterable[DataFile]) -> Self:
        """Returns these parts and others; what none of them shares any longer is left out."""
        more = list(parts)
        if not more and self._shares_all:
            return self
        places, tallies = _Shared(self.places, self.own["place"]), _Shared(self.tallies, self.own["tally"])
        own = {name: [*self.own[name], *map(value, more)] for name, value in _VALUES.items()}
        for file in more:
            directory = file.path[: file.path.rfind("/") + 1]
            places.add(Place(directory, file.table, file.partition, file.policy, file.key))
            tallies.add(Tally(file.absent, file.statuses))
        own |= {"place": places.positions, "tally": tallies.positions}
        return type(self)(places.values, tallies.values, own)

    @property
    def _shares_all(self) -> bool:
        """Returns whether parts have each place and each tally, and come to them in their order."""
        return all(
            [*dict.fromkeys(self.own[name])] == [*range(len(shared))]
            for name, shared in (("place", self.places), ("tally", self.tallies))
        )

    def _parts(self) -> Iterator[DataFile]:
        places, tallies = self.places, self.tallies
        own = (self.paths if name == "name" else column for name, column in self.own.items())
        for (
            path,
            sha256,
            yes,
            no,
            place,
            tally,
            rows,
            size,
            start,
            end,
            first,
            last,
            withheld,
            opened,
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


#: The columns of texts, of integers that may be missing, and of integers.
TEXTS: Final = ("name", "sha256")
PERHAPS: Final = ("recorded_rows", "unrecorded_rows")
NUMBERS: Final = (
    "place",
    "tally",
    "rows",
    "size_bytes",
    "window_start",
    "window_end",
    "created_at_min",
    "created_at_max",
    "withheld_rows",
    "open_rows",
    "media_files",
    "media_bytes",
)
_OWN: Final = (*TEXTS, *PERHAPS, *NUMBERS)
#: What each column holds of a part that is an object.
_VALUES: Final[dict[str, Callable[[DataFile], Any]]] = {
    "name": lambda file: file.path[file.path.rfind("/") + 1 :],
    **{name: attrgetter(name.replace("window_", "window.")) for name in ("sha256", *PERHAPS, *NUMBERS[2:])},
}
_OF_TALLIES: Final = frozenset(Tally.__struct_fields__)
_OF_PLACES: Final[dict[str, Callable[[Place], Any]]] = {
    "directory": lambda place: place.directory,
    "table": lambda place: place.table,
    "partition": lambda place: place.partition,
    "partition_text": lambda place: partition_text(place.partition),
    "policy": lambda place: place.policy,
    "key": lambda place: place.key,
}
