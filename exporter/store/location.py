"""Says where an export lies: at a path, or at the URL of a place in an object store."""

import os
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias, cast, get_args

from exporter.errors import StoreError, UsageError

Scheme: TypeAlias = Literal["s3", "gs", "az"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/?(.*)", re.DOTALL)
#: Buckets and containers in every cloud have such names; `@` is left out, so that no credentials are taken for a name.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}", re.ASCII)
#: No store and no reader needs to encode these.
_PART = re.compile(r"[\w !&$@=;:+,.()'-]+")
_FORMS: Final = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"


@dataclass(frozen=True, slots=True)
class Url:
    """Locates an export. `prefix` has no `/` at either end, and is empty for a whole bucket. `url / path` is inside."""

    scheme: Scheme
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def __truediv__(self, path: str) -> str:
        return f"{self}/{path}"


Location: TypeAlias = Path | Url


def shell_word(location: Location) -> str:
    """Returns the destination as it was given, as one word of a command line, which `parse_location` reads again."""
    text = str(location)
    if isinstance(location, Path) and (text.startswith("-") or ":/" in text):
        text = f"./{text}"
    return quoted(text)


def quoted(text: str) -> str:
    """Returns a text quoted as one word for a shell, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_in_ansi_c, text))}'"


def _in_ansi_c(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    return letter if letter.isprintable() else "".join(f"\\{byte:03o}" for byte in os.fsencode(letter))


def parts_inside(location: Location, path: str) -> tuple[str, ...]:
    """Returns the parts of `path`, relative to the destination. Raises `StoreError` for one that leads out of it.

    Paths come back from the log; a log that somebody has edited must not lead anywhere else.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise StoreError(f"{location}: {path!r} is not a path inside the destination")
    return parts


def in_full(location: Location) -> str:
    """Returns what tells a destination from others, also from another directory. Raises `OSError` if the working
    directory is gone."""
    return str(location.absolute() if isinstance(location, Path) else location)


def known_in_full(location: Location) -> str:
    """Returns the same as `in_full`, or, if the working directory is gone, what the destination was named as."""
    with suppress(OSError):
        return in_full(location)
    return str(location)


def parse_location(text: str) -> Location:
    """Returns the destination that was named. Raises `UsageError` for neither a path nor a URL of an object store.

    No message repeats a URL that may hold credentials.
    """
    if not text or "\0" in text:
        raise UsageError("the destination must be a path or a URL")
    match = _URL.fullmatch(text)
    if match is None:
        if text.partition(":/")[0].lower() in SCHEMES:
            here = quoted(f"./{text}")
            raise UsageError(f"{text}: a URL has two slashes. Give {_FORMS}, or {here} for a directory of that name")
        return Path(text)
    scheme, bucket, prefix = match[1].lower(), match[2], match[3].strip("/")
    if scheme not in SCHEMES:
        raise UsageError(f"{scheme}://: no such kind of store. Give a path, {_FORMS}")
    if "@" in bucket or "?" in text or "#" in text:
        raise UsageError(
            f"{scheme}://: the URL of a destination has no user, password, query or fragment. Credentials come from "
            "the environment, as the cloud's own tools take them"
        )
    if bucket.lower().startswith("arn:"):
        raise UsageError(
            f"{scheme}://arn:…: give an access point by its alias, which ends with -s3alias, not by its ARN"
        )
    if _BUCKET.fullmatch(bucket) is None:
        raise UsageError(f"{scheme}://{bucket}: not the name of a bucket or container. Give {_FORMS}")
    parts = prefix.split("/") if prefix else []
    if any(part in (".", "..") or _PART.fullmatch(part) is None for part in parts):
        raise UsageError(f"{scheme}://{bucket}/…: a prefix has parts of letters, digits, spaces and !&$@=;:+,._()'-")
    return Url(cast(Scheme, scheme), bucket, prefix)
