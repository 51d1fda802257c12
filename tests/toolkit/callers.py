"""Models people whose calls are full of canaries, and a source that has these calls."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.contract import Instant
from exporter.sandbox import Row, Sandbox
from tests.toolkit.canaries import Canaries, Canary, Person, make_conversation, make_odd_rows, make_person


@dataclass
class Callers:
    """Holds the calls that a server has, by the name that each has in the test, and whose they are.

    A call keeps its id; whenever it changes, all else in it that is a canary is a new one.
    """

    server: Sandbox
    chance: random.Random
    canaries: Canaries = field(default_factory=Canaries)
    people: dict[str, Person] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    person_of: dict[str, str] = field(default_factory=dict)

    def call(self, created_at: Instant, person: str | None = None, at: Instant | None = None) -> str:
        """Adds a call of this person, or of a new one; returns its name. `at` is its `updated_at`."""
        name, person = f"c{len(self.person_of)}", person or f"p{len(self.people)}"
        if person not in self.people:
            self.people[person] = make_person(self.canaries, person)
        self.person_of[name] = person
        self._serve(name, make_conversation(self.canaries, name, self.people[person], created_at, at))
        return name

    def oddities(self, created_at: Instant, name: str = "odd", at: Instant | None = None) -> None:
        """Adds rows of another shape, which are not known by name."""
        person = make_person(self.canaries, f"{name} person")
        for row in make_odd_rows(self.canaries, name, person, created_at, at):
            self.server.insert(row)

    def change(self, name: str, at: Instant, **fields: object) -> None:
        old = self.rows[name]
        person = self.people[self.person_of[name]]
        row = make_conversation(self.canaries, name, person, old.created_at, at, self.id_of(name))
        self.server.delete(self.id_of(name))
        self._serve(name, Row(row.created_at, at, {**row.fields, **fields}))

    def delete(self, name: str) -> None:
        self.server.delete(self.id_of(name))
        del self.rows[name]

    def calls_of(self, person: str) -> list[str]:
        """Returns the calls that this person has ever made."""
        return [name for name, caller in self.person_of.items() if caller == person]

    def id_of(self, name: str) -> str:
        return str(self.rows[name].fields["id"])

    def canaries_of(self, people: Iterable[str]) -> list[Canary]:
        """Returns everything by which these people or their calls might be known."""
        owners = set(people)
        return self.canaries.of(*owners, *(name for name, caller in self.person_of.items() if caller in owners))

    def _serve(self, name: str, row: Row) -> None:
        self.rows[name] = row
        self.server.insert(row)
