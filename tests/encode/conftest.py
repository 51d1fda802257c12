from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from exporter.encode.batch import EncodedBatch, Encoder
from exporter.encode.decode import Decoder

Convert: TypeAlias = Callable[[bytes | str], EncodedBatch]


@pytest.fixture
def convert() -> Convert:
    """Returns a function that turns a page into its batch, with every field asked for."""

    def run(body: bytes | str) -> EncodedBatch:
        page = Decoder(None).decode(body.encode() if isinstance(body, str) else body).page
        return Encoder(None).encode(page.rows)

    return run


@pytest.fixture
def row_text() -> Callable[..., str]:
    """Returns a function that makes the JSON text of a row: an id, a `created_at`, and the members given as texts."""

    def make(name: str, **members: str) -> str:
        texts: dict[str, Any] = {"id": f'"{name}"', "created_at": '"2026-02-10T05:00:00Z"', **members}
        return "{" + ", ".join(f'"{key}": {text}' for key, text in texts.items()) + "}"

    return make
