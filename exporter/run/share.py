"""Describes the share of a scan that a task reads elsewhere, and what has come of it, as plain data without a secret.

A share names where secrets are kept, and never holds one: whoever reads it finds the token and the keys in the
environment of its own process, or in private files of its own machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from exporter.bearer import TokenPlace
from exporter.contract import END_OF_TIME, Instant
from exporter.errors import EngineError
from exporter.keys import Keys
from exporter.log.privacy import Privacy
from exporter.model import Change, Counters
from exporter.pipeline.scan import Scan
from exporter.route import check_base_url, choose_proxy
from exporter.settings import FileMode, Hydrate, Request, RunSettings
from exporter.version import __version__


class KeyPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """Says which files hold keys, if the user has named them, as in `keys.Keys`."""

    privacy_file: str | None = None
    data_file: str | None = None

    @classmethod
    def of(cls, keys: Keys) -> Self:
        """Returns where a worker finds the keys of a run."""
        return cls(privacy_file=_text_of(keys.privacy_file), data_file=_text_of(keys.data_file))

    def found_in(self, environment: Mapping[str, str]) -> Keys:
        """Returns the keys as a worker with this environment finds them."""
        return Keys(environment, _path_of(self.privacy_file), _path_of(self.data_file))


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Holds those of `RunSettings` that a worker needs. `max_rps` is the part of the rate that this share may use."""

    base_url: str
    insecure_http: bool
    ca_file: str | None
    concurrency: int
    max_rps: float | None
    wait_seconds: float
    page_size: int
    target_part_bytes: int
    memory_bytes: int
    hydrate: Hydrate

    @classmethod
    def of(cls, settings: RunSettings, max_rps: float | None) -> Self:
        """Returns what a worker is told of the settings of a run."""
        return cls(
            base_url=settings.base_url,
            insecure_http=settings.base_url.startswith("http:"),
            ca_file=_text_of(settings.ca_file),
            concurrency=settings.concurrency,
            max_rps=max_rps,
            wait_seconds=settings.wait_seconds,
            page_size=settings.page_size,
            target_part_bytes=settings.target_part_bytes,
            memory_bytes=settings.memory_bytes,
            hydrate=settings.hydrate,
        )

    def used_in(self, environment: Mapping[str, str]) -> RunSettings:
        """Returns the settings of a worker, with the way to the API of this environment. Raises `UsageError`."""
        base_url = check_base_url(self.base_url, insecure_http=self.insecure_http)
        return RunSettings(
            base_url=base_url,
            proxy=choose_proxy(environment, base_url),
            ca_file=_path_of(self.ca_file),
            concurrency=self.concurrency,
            max_rps=self.max_rps,
            wait_seconds=self.wait_seconds,
            page_size=self.page_size,
            target_part_bytes=self.target_part_bytes,
            memory_bytes=self.memory_bytes,
            heeds_signals=False,
            hydrate=self.hydrate,
        )


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what tasks have learned of the API, as in `Traits` and `FilterOrder`."""

    cuts_at_random: bool = False
    ends_late: bool = False

    def __or__(self, other: "Learned") -> "Learned":
        return Learned(**{name: getattr(self, name) or getattr(other, name) for name in self.__struct_fields__})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what the driver has learned, so that no task asks for it again.

    `now` is the time to go by when the share was made, whatever the worker's clock says. The data begins at about
    `oldest`. `density` is the number of rows a microsecond at the end of the last window, if it is known. `newest` is
    the time of the newest row of the whole list, if it was shown, and `lowest` that of the lowest row of it that is
    known. The list holds more rows than one if it `has_several`. `organization` owns the rows, and
    `stored_organization` the `stored_rows`, if they are known. The rows with the ids that are `sighted` are stored with
    sensitive fields; `refuses_withheld` is as in `Guard`. Earlier runs have brought `hydrated` fields by id, and
    earlier tasks have `learned` something.
    """

    now: Instant
    oldest: Instant
    density: float | None = None
    newest: Instant | None = None
    lowest: Instant = END_OF_TIME
    has_several: bool = False
    organization: str | None = None
    stored_organization: str | None = None
    stored_rows: int = 0
    asked_organization: str | None = None
    sighted: tuple[str, ...] = ()
    refuses_withheld: bool = False
    hydrated: tuple[str, ...] = ()
    learned: Learned = Learned()


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Says what one task reads: the windows of `scan`, disjoint and ascending, for about `budget_seconds`, or until it
    has got anywhere.

    `task` begins with the name of the `run`, and no two tasks have the same. The worker reads the file at the path
    `beacon` of the destination first: if it does not begin with `nonce`, this is not the destination that the driver
    sees. Whenever it is gone later, the driver wants no more, and the task ends at the page that it is at; so it does
    when it is named there, because others are to read the rest.
    """

    version: str = __version__
    run: str
    task: str
    destination: str
    file_mode: FileMode
    request: Request
    settings: ReadSettings
    scan: Scan
    facts: Facts
    privacy: Privacy
    token: TokenPlace
    keys: KeyPlaces
    budget_seconds: float
    beacon: str
    nonce: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Describes an error that has ended a task: its class, as `errors` names it, and its message."""

    kind: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Says what a task has brought. All of it can be committed, also beside a `failure`.

    `staged` names, for each file of `change` by its final path, the path at which `Store.adopt` finds it. `rows` and
    `bytes` are what was read. `kept_out` are hashes of conversations that were served and not taken, because they were
    erased. `hydrated` are fields that came by id. `changed`, `odd`, `reached` and `protected_rows` are what the
    `Protector` has counted. `rate` is the rate in requests a second that the host was found to allow, if it was.
    `learned` is for the tasks that follow, and `warnings` are what a user must be told.
    """

    version: str = __version__
    task: str
    change: Change | None = None
    staged: dict[str, str] = msgspec.field(default_factory=dict)
    counters: Counters = Counters()
    rows: int = 0
    bytes: int = 0
    kept_out: tuple[str, ...] = ()
    hydrated: tuple[str, ...] = ()
    changed: dict[str, int] = msgspec.field(default_factory=dict)
    odd: dict[str, int] = msgspec.field(default_factory=dict)
    reached: dict[str, int] = msgspec.field(default_factory=dict)
    protected_rows: int = 0
    rate: float | None = None
    learned: Learned = Learned()
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what all versions of a share have."""

    version: str
    task: str


#: No task or answer is longer: they name files, and hold none.
MOST_BYTES: Final = 64 * 1024 * 1024
#: A task tells no more warnings: different ones are few; whatever makes many says hardly anything new.
MOST_WARNINGS: Final = 20
T = TypeVar("T")
_HEADERS: Final = msgspec.json.Decoder(Header)
_SHARES: Final = msgspec.json.Decoder(Share)
_OUTCOMES: Final = msgspec.json.Decoder(Outcome)


def encode(value: Share | Outcome) -> bytes:
    """Returns the value as bytes that any machine decodes."""
    return msgspec.json.encode(value)


def decode_header(task: bytes) -> Header:
    """Returns what is known of a share of any version. Raises `EngineError` for anything else."""
    return _decoded(_HEADERS, task)


def decode_share(task: bytes) -> Share:
    """Returns the share that a driver of this version has sent. Raises `EngineError` for anything else."""
    return _decoded(_SHARES, task)


def _decoded(decoder: msgspec.json.Decoder[T], task: bytes) -> T:
    try:
        return decoder.decode(task)
    except msgspec.DecodeError as error:
        raise EngineError("a worker was given what is no task of this exporter; is its version another one?") from error


def decode_outcome(answer: bytes) -> Outcome:
    """Returns the outcome that a worker has answered. Raises `EngineError` for anything else."""
    try:
        return _OUTCOMES.decode(answer)
    except msgspec.DecodeError as error:
        raise EngineError("a worker answered with no outcome; is its version of exporter another one?") from error


def _text_of(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _path_of(text: str | None) -> Path | None:
    return None if text is None else Path(text)
