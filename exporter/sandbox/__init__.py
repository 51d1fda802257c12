"""Stands in for the API, with made-up conversations and switchable behaviour: for trying out, tests and benchmarks."""

from exporter.sandbox.behaviour import FAULTS, Behaviour, Fault, behaviour_from_options
from exporter.sandbox.conversations import ORGANIZATION, RECORDINGS_HOST, make_conversations
from exporter.sandbox.density import DENSITIES, Density
from exporter.sandbox.gate import (
    PERSONAL_TOKEN,
    PERSONAL_TOKEN_NOSENSITIVE,
    TOKEN,
    TOKEN_NOSCOPE,
    TOKEN_NOSENSITIVE,
    key_of,
)
from exporter.sandbox.media import MEDIA_FAULTS, MediaBehaviour, MediaFault, media_from_options
from exporter.sandbox.media_host import MediaHost, MediaRequest
from exporter.sandbox.rows import Row
from exporter.sandbox.server import Sandbox, ServedAnswer, ServedRequest
from exporter.sandbox.service import run_sandbox, serve

__all__ = [
    "DENSITIES",
    "FAULTS",
    "MEDIA_FAULTS",
    "ORGANIZATION",
    "PERSONAL_TOKEN",
    "PERSONAL_TOKEN_NOSENSITIVE",
    "RECORDINGS_HOST",
    "TOKEN",
    "TOKEN_NOSCOPE",
    "TOKEN_NOSENSITIVE",
    "Behaviour",
    "Density",
    "Fault",
    "MediaBehaviour",
    "MediaFault",
    "MediaHost",
    "MediaRequest",
    "Row",
    "Sandbox",
    "ServedAnswer",
    "ServedRequest",
    "behaviour_from_options",
    "key_of",
    "make_conversations",
    "media_from_options",
    "run_sandbox",
    "serve",
]
