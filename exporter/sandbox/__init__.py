"""Stands in for the API, with made-up conversations and switchable behaviour: for trying out, tests and benchmarks."""

from exporter.sandbox.behaviour import FAULTS, Behaviour, Fault, behaviour_from_options
from exporter.sandbox.conversations import ORGANIZATION, make_conversations
from exporter.sandbox.density import DENSITIES, Density
from exporter.sandbox.gate import PERSONAL_TOKEN, PERSONAL_TOKEN_NOSENSITIVE, TOKEN, TOKEN_NOSCOPE, TOKEN_NOSENSITIVE
from exporter.sandbox.rows import Row
from exporter.sandbox.server import Sandbox, ServedAnswer, ServedRequest, run_sandbox, serve

__all__ = [
    "DENSITIES",
    "FAULTS",
    "ORGANIZATION",
    "PERSONAL_TOKEN",
    "PERSONAL_TOKEN_NOSENSITIVE",
    "TOKEN",
    "TOKEN_NOSCOPE",
    "TOKEN_NOSENSITIVE",
    "Behaviour",
    "Density",
    "Fault",
    "Row",
    "Sandbox",
    "ServedAnswer",
    "ServedRequest",
    "behaviour_from_options",
    "make_conversations",
    "run_sandbox",
    "serve",
]
