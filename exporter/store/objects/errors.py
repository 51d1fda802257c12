"""Reads what object stores answer instead of doing what was asked. obstore's errors end here, and only here.

Their own texts hold the whole request, which may be signed, and are never repeated: only the store's error code, the
HTTP status and the name of a region are passed on.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from exporter.errors import StoreError, WrongBucketError
from exporter.store.objects.refusals import PASSING, TEXTS, FaultKind, kind_of

T = TypeVar("T")

_CODE = re.compile(r"<Code>([A-Za-z0-9_.-]{1,64})</Code>|\(code: ([A-Za-z0-9_.-]{1,64})\)")
_STATUS = re.compile(r"status code: (\d{3})")
_REGION = re.compile(r"<Region>([a-z0-9-]{1,32})</Region>")
_UNREADABLE = re.compile(r"Got invalid|Unable to extract metadata|Received non-partial response")
#: Azure says this of an expired signature, or of a clock that is wrong.
_TIME_IS_OVER = re.compile(r"not valid in the specified time frame|[Ee]xpired")
_CLOCK_IS_WRONG = re.compile(r"[Dd]ate header too old|Request date header")
_CAUSE = re.compile(r"(?:Keyless|Unreached)Error: ([^\n]{1,400})")
#: A token service names what is wrong like this, by OAuth.
_OAUTH = re.compile(r'\\?"error\\?"\s*:\s*\\?"([a-z_]{1,40})\\?"')
#: Machines in a cloud ask for their own credentials at these.
_MACHINE = re.compile(r"169\.254\.169\.254|metadata\.google|fd00:ec2|/metadata/identity|computeMetadata")
#: obstore begins what it says of a service for credentials with this.
_EXCHANGE: Final = "token request"
#: obstore's words for what the network does, and what they mean.
_NETWORK: Final = {
    "dns error": "the name of its host is not known",
    "ConnectionRefused": "the connection is refused",
    "NetworkUnreachable": "the network cannot be reached",
    "HostUnreachable": "its host cannot be reached",
    "InvalidMessage": "what answers there speaks no TLS",
    "TimedOut": "it takes too long",
    "Timeout": "it takes too long",
}
_REPEATED: Final = " retries, max_retries"
_LONGEST: Final = 200
_SECRET_VALUE = re.compile(r"(?i)((?:secret|password|passwd|token|credential|key|signature)\w*[\"']?\s*[=:]\s*)\S+")
_SECRET_WORD = re.compile(r"(?=[A-Za-z/+=_-]*\d)(?=[\d/+=_-]*[A-Za-z])[A-Za-z0-9/+=_-]{16,}")


class KeylessError(Exception):
    """No credentials were found. The text is one line, with the cause, what to do about it, and no secret.

    The provider of credentials raises it through obstore, which keeps only its name and its text.
    """


class UnreachedError(KeylessError):
    """The provider of credentials does not answer, and may do so in a while."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Says what happened. `said` is the HTTP status and the error code, `region` is where a bucket is instead, and
    `cause` is why there is no key."""

    kind: FaultKind
    said: str = ""
    region: str = ""
    cause: str = ""
    was_repeated: bool = False

    @property
    def is_passing(self) -> bool:
        return self.kind in PASSING

    @property
    def is_of_bucket(self) -> bool:
        """Returns whether it is certain that the bucket is the wrong one, and not only an object missing."""
        return self.kind == "elsewhere" or (self.kind == "missing" and " " in self.said)

    def __str__(self) -> str:
        if self.region:
            return f"the bucket lies in the region {self.region}. Set AWS_REGION={self.region}"
        if self.cause:
            return f"no credentials found: {self.cause}"
        return TEXTS[self.kind].format(self.said or "no reason given")


@contextmanager
def translating(where: object) -> Iterator[None]:
    """Turns what obstore raises in the block into a `StoreError` that names `where`."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise failed(where, read_fault(error)) from error


def asking(where: object, work: Callable[[], T], pauses_seconds: Iterable[float]) -> T:
    """Returns what `work` returns; does it again if the store asks for that and obstore does not heed it.

    Raises `StoreError`.
    """
    for pause in pauses_seconds:
        try:
            return work()
        except (BaseError, FileNotFoundError) as error:
            fault = read_fault(error)
            if fault.was_repeated or not fault.is_passing:
                raise failed(where, fault) from error
        time.sleep(pause)
    with translating(where):
        return work()


def failed(where: object, fault: Fault) -> StoreError:
    """Returns the error of a fault at `where`, which is the URL of a destination, or one inside it."""
    if not fault.is_of_bucket:
        return StoreError(f"{where}: {fault}")
    scheme, _, rest = str(where).partition("://")
    return WrongBucketError(f"{scheme}://{rest.partition('/')[0]}: {fault}")


def is_absence(error: FileNotFoundError) -> bool:
    """Returns whether only an object is missing, and not its whole bucket."""
    return not _first(_CODE, str(error)) or read_fault(error).kind != "missing"


def fault_of(error: StoreError) -> Fault | None:
    """Returns the fault that became this error, or None if the error came from elsewhere."""
    return read_fault(error.__cause__) if isinstance(error.__cause__, BaseError | FileNotFoundError) else None


def is_passing(error: StoreError) -> bool:
    """Returns whether the fault that became this error may pass by itself."""
    fault = fault_of(error)
    return fault is not None and fault.is_passing


def read_fault(error: Exception) -> Fault:
    """Returns what an error of obstore's means."""
    text = str(error)
    code, status = _first(_CODE, text), _first(_STATUS, text)
    said = " ".join(filter(None, (status, code)))
    was_repeated = status == "429" or status.startswith("5") or _REPEATED in text
    if isinstance(error, UnauthenticatedError) and not status:
        found: FaultKind = "silent" if UnreachedError.__name__ in text else "keyless"
        return Fault(found, cause=_first(_CAUSE, text), was_repeated=True)
    if _EXCHANGE in text:
        return _tokenless(text, status, said)
    if region := _first(_REGION, text):
        return Fault("elsewhere", said, region)
    kind = kind_of(status, code)
    if kind == "signature" and _CLOCK_IS_WRONG.search(text):
        kind = "skewed"
    elif kind == "signature" and code == "AuthenticationFailed" and _TIME_IS_OVER.search(text):
        kind = "expired"
    if kind is None:
        kind = _without_answer(error, text)
    if kind == "silent":
        said = next((words for part, words in _NETWORK.items() if part in text), "the connection failed")
    return Fault(kind, said, was_repeated=was_repeated)


def first_line(text: str) -> str:
    """Returns the first line that says something, shortened, without what could be a secret."""
    line = next(filter(None, map(str.strip, text.splitlines())), "")
    # Masking takes longer, the longer the line is.
    line = "".join(filter(str.isprintable, line[: 5 * _LONGEST]))
    line = _SECRET_WORD.sub("…", _SECRET_VALUE.sub(r"\1…", line))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _without_answer(error: Exception, text: str) -> FaultKind:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, PermissionDeniedError):
        return "denied"
    if "redirect" in text.partition("\n")[0]:
        return "elsewhere"
    if _UNREADABLE.search(text):
        return "unreadable"
    return "untrusted" if "InvalidCertificate" in text else "silent"


def _tokenless(text: str, status: str, said: str) -> Fault:
    """Returns the fault of a service that gives tokens in exchange for what the environment has."""
    if _MACHINE.search(text):
        why = f"its own service answers {said}" if status else "it has no service that gives any"
        return Fault("keyless", cause=f"the environment has none, and this machine has none of its own: {why}")
    if not status or status == "429" or status.startswith("5"):
        return (
            Fault("failing", said, was_repeated=True)
            if status
            else Fault("silent", "nor from the service for tokens", was_repeated=True)
        )
    why = " ".join(filter(None, (said, _first(_OAUTH, text))))
    cause = f"the cloud's service for tokens refuses what the environment has ({why}). Log in again, or set others"
    return Fault("keyless", cause=cause)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return next(filter(None, found.groups()), "") if found else ""
