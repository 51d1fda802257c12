"""Takes pictures of pages for the manual: PNG with few colours, so that they are small."""

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Page

COLOURS = 32
#: Draws a picture, and returns its width and its pixels of four bytes each.
_PIXELS = """async (picture) => {
  const bitmap = await createImageBitmap(await (await fetch(picture)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  let text = "";
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  return [bitmap.width, btoa(text)];
}"""


def take_picture(page: "Page") -> bytes:
    """Returns what the window of a page shows."""
    taken = base64.b64encode(page.screenshot()).decode("ascii")
    # The policy of the page itself forbids what reads the picture.
    blank = page.context.new_page()
    width, text = blank.evaluate(_PIXELS, f"data:image/png;base64,{taken}")
    blank.close()
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, width, 4)[:, :, :3]
    return encode_png(pixels)


def encode_png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Returns pixels of `[height, width, 3]` as a PNG of the colours that are most frequent, and those nearest."""
    height, width, _ = pixels.shape
    colours, numbers, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = colours[np.argsort(-counts, kind="stable")[:COLOURS]]
    distances = ((colours[:, None].astype(np.int32) - palette[None].astype(np.int32)) ** 2).sum(axis=2)
    indexes = distances.argmin(axis=1).astype(np.uint8)[numbers.reshape(-1)].reshape(height, width)
    # Each row begins with the number of its filter, which is none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indexes], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
