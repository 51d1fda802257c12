"""Tells by the type and the first bytes of a body whether it may be a recording, and what its file is called. Pure."""

import re
from typing import Final

#: A page is known by this many of its first bytes.
BEGINNING_BYTES: Final = 1024

#: No text of a host becomes part of a path, except that it names one of these.
_EXTENSIONS: Final = {
    "audio/3gpp": "3gp",
    "audio/aac": "aac",
    "audio/aacp": "aac",
    "audio/aiff": "aiff",
    "audio/amr": "amr",
    "audio/basic": "au",
    "audio/flac": "flac",
    "audio/m4a": "m4a",
    "audio/mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/mpeg3": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/vnd.wave": "wav",
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/webm": "weba",
    "audio/x-aac": "aac",
    "audio/x-aiff": "aiff",
    "audio/x-flac": "flac",
    "audio/x-m4a": "m4a",
    "audio/x-mp3": "mp3",
    "audio/x-mpeg": "mp3",
    "audio/x-wav": "wav",
    "application/ogg": "ogg",
    "video/3gpp": "3gp",
    "video/mp4": "mp4",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
}
_OTHER: Final = "bin"

_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,40}/[a-z0-9][a-z0-9.+-]{0,40}", re.ASCII)
#: Pages, errors, and lists of where the recording really is.
_PAGES: Final = re.compile(r"text/.*|application/(json|xml|javascript)|.*[+](json|xml)|.*/.*mpegurl", re.ASCII)
_LIKE_A_PAGE: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:(<!doctype|<html)|(<\?xml)|(\{\s*[\"}])|(#EXTM3U))", re.IGNORECASE
)
_TYPES: Final = ("text/html", "application/xml", "application/json", "application/vnd.apple.mpegurl")


def extension_of(content_type: str | None) -> str:
    """Returns the extension, without a dot, of a file of this type; `bin` for types that are not known."""
    return _EXTENSIONS.get(_bare(content_type), _OTHER)


def page_type(content_type: str | None) -> str | None:
    """Returns the bare type if it is that of a page, and not of a recording."""
    bare = _bare(content_type)
    return bare if _TYPE.fullmatch(bare) and _PAGES.fullmatch(bare) else None


def type_of_page(beginning: bytes) -> str | None:
    """Returns the type of the page that a body begins like, whatever type it was given; None for anything else.

    A brace alone does not make JSON of it, because samples without a header may begin with any byte.
    """
    match = _LIKE_A_PAGE.match(beginning)
    return None if match is None or match.lastindex is None else _TYPES[match.lastindex - 1]


def _bare(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()
