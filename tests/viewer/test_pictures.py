"""The pictures of the manual are small, and are taken anew by one command."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.toolkit.manual import PAGES
from tests.toolkit.small_png import encode_png
from tests.viewer import pictures

MOST_BYTES = 60_000


def size_of(picture: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def test_each_picture_is_small_and_shown_in_the_manual() -> None:
    found = sorted(pictures.PICTURES.iterdir())
    assert found
    for path in found:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert path.stat().st_size <= MOST_BYTES, path.name
        assert any(f"](pictures/{path.name})" in page.text for page in PAGES.values()), path.name


@pytest.mark.thorough
def test_the_command_takes_them(tmp_path: Path) -> None:
    pictures.take_all(tmp_path)
    taken = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert taken.keys() == {"view-find.png", "view-read.png"}
    for name, picture in taken.items():
        assert size_of(picture) == size_of((pictures.PICTURES / name).read_bytes())
        assert len(picture) <= MOST_BYTES


def test_a_picture_of_few_colours_is_kept_as_it_is() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[1, 2] = (255, 0, 128)
    picture = encode_png(pixels)
    assert size_of(picture) == (3, 2)
    palette, content = (picture.partition(name)[2] for name in (b"PLTE", b"IDAT"))
    assert palette[:6] == bytes([0, 0, 0, 255, 0, 128])
    assert zlib.decompressobj().decompress(content) == bytes([0, 0, 0, 0, 0, 0, 0, 1])
