"""Makes up recordings that can be heard: the caller on the left, the agent on the right, one after the other.

A recording is a WAV file of 16 bits and 8 kHz. Its notes follow from its name alone, and repeat if it is a long one.
"""

import math
import random
import struct
import sys
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "audio/wav"
EXTENSION: Final = "wav"

_RATE: Final = 8000
_FRAME_BYTES: Final = 4
_NOTE_FRAMES: Final = _RATE // 5
_NOTES: Final = (5, 10)
#: Two pentatonic scales, an octave apart: whatever follows whatever sounds well.
_CALLER: Final = (262, 294, 330, 392, 440)
_AGENT: Final = tuple(2 * pitch for pitch in _CALLER)
_LOUDNESS: Final = 9000
_FADE_FRAMES: Final = 160
_CHUNK_BYTES: Final = 256 * 1024


class Tone(NamedTuple):
    """Holds a recording: its header, the sound that repeats after it, and the size of both in bytes."""

    header: bytes
    sound: bytes
    size: int

    def read(self, start: int, end: int) -> bytes:
        """Returns the bytes of `[start, end)`."""
        return b"".join(self.chunks(start, end))

    def chunks(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Yields the bytes of `[start, end)`, a chunk at a time, without making more of them than a chunk has."""
        if head := self.header[start:end]:
            yield head
        at, stop = max(0, start - len(self.header)), max(0, end - len(self.header))
        longest = min(_CHUNK_BYTES, stop - at)
        again = memoryview(self.sound * (longest // len(self.sound) + 2))
        while at < stop:
            offset, size = at % len(self.sound), min(longest, stop - at)
            yield again[offset : offset + size]
            at += size


def make_tone(name: str, size: int | None = None) -> Tone:
    """Returns the recording of this name, one or two seconds long, or of exactly `size` bytes (at least 44)."""
    rng = random.Random(f"tone {name}")
    notes = rng.randint(*_NOTES)
    left, right = array("h"), array("h")
    for _ in range(notes):
        is_caller, pitch = rng.random() < 0.5, rng.randrange(len(_CALLER))
        left.extend(_note(_CALLER[pitch]) if is_caller else _SILENCE)
        right.extend(_SILENCE if is_caller else _note(_AGENT[pitch]))
    frames = array("h", bytes(_FRAME_BYTES * len(left)))
    frames[0::2], frames[1::2] = left, right
    # Short melodies are often the same: the last frames, which nobody hears, tell them apart.
    frames[-4:] = array("h", [rng.randint(-99, 99) for _ in range(4)])
    if sys.byteorder == "big":
        frames.byteswap()
    sound = frames.tobytes()
    header = _header(len(sound) if size is None else size - _HEADER_BYTES)
    return Tone(header, sound, len(header) + len(sound) if size is None else size)


def _header(sound_bytes: int) -> bytes:
    # Sizes beyond 32 bits are told as the largest, which players take for "until the end".
    told = min(sound_bytes, 0xFFFF_FFFF - 36)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, _RATE, _RATE * _FRAME_BYTES, _FRAME_BYTES, 16)
    return struct.pack("<4sI4s", b"RIFF", told + 36, b"WAVE") + form + struct.pack("<4sI", b"data", told)


@lru_cache(maxsize=len(_CALLER) + len(_AGENT))
def _note(pitch: int) -> "array[int]":
    """Returns a fifth of a second of this pitch, which swells and fades, so that nothing clicks."""
    frames = range(_NOTE_FRAMES)
    loudness = (_LOUDNESS * min(1, n / _FADE_FRAMES, (_NOTE_FRAMES - n) / _FADE_FRAMES) for n in frames)
    waves = (math.sin(n * pitch * math.tau / _RATE) for n in frames)
    return array("h", (int(loud * wave) for loud, wave in zip(loudness, waves, strict=True)))


_SILENCE: Final = array("h", bytes(2 * _NOTE_FRAMES))
_HEADER_BYTES: Final = len(_header(0))
