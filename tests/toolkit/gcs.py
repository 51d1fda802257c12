"""Stands in for Google's store by its documented XML API, by which none of the emulators can write.

It keeps objects in memory, numbers their generations, and heeds `x-goog-if-generation-match`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape


class _Object(NamedTuple):
    data: bytes
    generation: int
    modified: datetime

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [
            ("ETag", f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'),
            ("x-goog-generation", str(self.generation)),
            ("Last-Modified", self.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")),
        ]


class Gcs:
    """Serves the store as a WSGI application. Putting a bucket creates it."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, _Object]] = {}
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._generation = 1_000_000
        self._lock = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        with self._lock:
            status, headers, answer = self._answer(environ, bucket, key, query, body)
        start_response(f"{status} As Documented", [("Content-Length", str(len(answer))), *headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer]

    def _answer(
        self, environ: dict[str, Any], bucket: str, key: str, query: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        method = environ["REQUEST_METHOD"]
        if not key and method == "PUT":
            self._buckets[bucket] = {}
            return 200, [], b""
        objects = self._buckets.get(bucket)
        if objects is None:
            return _error(404, "NoSuchBucket")
        if not key:
            return 200, [], _listed(objects, query)
        upload = query.get("uploadId")
        match method:
            case "PUT" if upload:
                self._uploads[upload][int(query["partNumber"])] = body
                return 200, [("ETag", f'"{len(body)}"')], b""
            case "POST" if "uploads" in query:
                self._uploads[upload := str(len(self._uploads))] = {}
                return 200, [], _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
            case "PUT" if source := environ.get("HTTP_X_GOOG_COPY_SOURCE"):
                origin, _, of = unquote(source).lstrip("/").partition("/")
                copied = self._buckets.get(origin, {}).get(of)
                if copied is None:
                    return _error(404, "NoSuchKey")
                self._generation += 1
                objects[key] = _Object(copied.data, self._generation, datetime.now(UTC))
                return 200, objects[key].headers, b""
            case "POST" | "PUT":
                if not _is_met(environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH"), objects.get(key)):
                    return _error(412, "PreconditionFailed")
                data = b"".join(part for _, part in sorted(self._uploads.pop(upload).items())) if upload else body
                self._generation += 1
                objects[key] = _Object(data, self._generation, datetime.now(UTC))
                etag = dict(objects[key].headers)["ETag"]
                answer = _xml("CompleteMultipartUploadResult", f"<ETag>{escape(etag)}</ETag>") if upload else b""
                return 200, objects[key].headers, answer
            case "DELETE" if upload:
                del self._uploads[upload]
                return 204, [], b""
            case "DELETE":
                return (204, [], b"") if objects.pop(key, None) else _error(404, "NoSuchKey")
        found = objects.get(key)
        if found is None:
            return _error(404, "NoSuchKey")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", ""))
        if wanted is None:
            return 200, found.headers, found.data
        start, last = int(wanted[1]), min(int(wanted[2]), len(found.data) - 1)
        there = ("Content-Range", f"bytes {start}-{last}/{len(found.data)}")
        return 206, [*found.headers, there], found.data[start : last + 1]


def _is_met(condition: str | None, found: _Object | None) -> bool:
    return condition is None or int(condition) == (found.generation if found else 0)


def _listed(objects: dict[str, _Object], query: dict[str, str]) -> bytes:
    prefix, delimiter, after = query.get("prefix", ""), query.get("delimiter"), query.get("start-after", "")
    contents, prefixes = "", dict[str, None]()
    for key, found in sorted(objects.items()):
        if not key.startswith(prefix) or key <= after:
            continue
        directory, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if cut:
            prefixes[prefix + directory + cut] = None
            continue
        modified, etag = found.modified.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), dict(found.headers)["ETag"]
        contents += (
            f"<Contents><Key>{escape(key)}</Key><Size>{len(found.data)}</Size><ETag>{escape(etag)}</ETag>"
            f"<LastModified>{modified}</LastModified><Generation>{found.generation}</Generation></Contents>"
        )
    common = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in prefixes)
    return _xml("ListBucketResult", contents + common)


def _error(status: int, code: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return status, [], _xml("Error", f"<Code>{code}</Code><Message>as documented</Message>")


def _xml(tag: str, inside: str) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?><{tag}>{inside}</{tag}>".encode()
