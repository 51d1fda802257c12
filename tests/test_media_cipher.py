"""Encrypted media opens as it was, or not at all: whatever is flipped, cut, added, or put in another order."""

import sys
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import DamagedPartError, UnreadablePartError, UsageError
from exporter.keys import Key
from exporter.media_cipher import CHUNK_BYTES, SALT_BYTES, TAG_BYTES, Sealer, Unsealer, check_installed, unseal

KEY = Key("d1", bytes(range(32)))
HEADER_BYTES = len(b"exporter media 1 d1\n") + SALT_BYTES
WHOLE_CHUNK = CHUNK_BYTES + TAG_BYTES


def seal(audio: bytes, key: Key = KEY, step: int = 10_000) -> bytes:
    sealer = Sealer(key)
    return b"".join(sealer.update(audio[at : at + step]) for at in range(0, len(audio), step)) + sealer.finish()


def opened(sealed: bytes, key: Key = KEY) -> bytes:
    return b"".join(unseal(BytesIO(sealed), "media/x.enc", "calls", key))


def chunks_of(sealed: bytes) -> tuple[bytes, list[bytes]]:
    rest = sealed[HEADER_BYTES:]
    return sealed[:HEADER_BYTES], [rest[at : at + WHOLE_CHUNK] for at in range(0, len(rest), WHOLE_CHUNK)]


sizes = st.builds(
    lambda chunks, more: max(0, chunks * CHUNK_BYTES + more), st.integers(0, 3), st.integers(-2, 2) | st.integers(0, 99)
)


@given(size=sizes, step=st.integers(1_000, 3 * CHUNK_BYTES))
@example(size=0, step=1_000)
@example(size=CHUNK_BYTES, step=CHUNK_BYTES)
@example(size=2 * CHUNK_BYTES, step=1_000)
def test_what_was_sealed_opens_however_it_came(size: int, step: int) -> None:
    audio = (b"audio%06d " * (size // 12 + 1) % tuple(range(size // 12 + 1)))[:size]
    sealed = seal(audio, step=step)
    chunk_count = max(1, -(-size // CHUNK_BYTES))
    assert len(sealed) == HEADER_BYTES + size + chunk_count * TAG_BYTES
    assert opened(sealed) == audio


def unsealer(sealed: bytes, key: Key = KEY) -> Unsealer:
    return Unsealer(BytesIO(sealed), len(sealed), "media/x.enc", "calls", key)


@given(size=sizes, start=st.floats(0, 1), stop=st.floats(0, 1))
@example(size=2 * CHUNK_BYTES, start=0.5, stop=1.0)
@example(size=0, start=0.0, stop=1.0)
def test_any_part_opens_by_itself(size: int, start: float, stop: float) -> None:
    audio = (b"audio%06d " * (size // 12 + 1) % tuple(range(size // 12 + 1)))[:size]
    opened_ = unsealer(seal(audio))
    first, last = int(start * size), int(stop * size)
    assert opened_.audio_bytes == size
    assert b"".join(opened_.read(first, last)) == audio[first:last]


@given(size=sizes, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_where_it_is_read(size: int, at: float, bit: int) -> None:
    sealed = bytearray(seal(bytes(size)))
    sealed[int(at * len(sealed))] ^= 1 << bit
    with pytest.raises((DamagedPartError, UnreadablePartError)):
        opened_ = unsealer(bytes(sealed))
        list(opened_.read(0, max(1, opened_.audio_bytes)))


def test_a_file_that_was_cut_does_not_open_at_its_end() -> None:
    header, chunks = chunks_of(seal(bytes(3 * CHUNK_BYTES)))
    cut = unsealer(header + b"".join(chunks[:2]))
    assert len(b"".join(cut.read(0, CHUNK_BYTES))) == CHUNK_BYTES
    with pytest.raises(DamagedPartError, match="its chunk 2 was cut or changed"):
        list(cut.read(CHUNK_BYTES, 2 * CHUNK_BYTES))
    with pytest.raises(DamagedPartError, match="ends before its audio begins"):
        unsealer(header + bytes(TAG_BYTES - 1))
    with pytest.raises(UnreadablePartError, match="encrypted with the key d1; the one given is d2"):
        unsealer(seal(b"x"), Key("d2", bytes(32)))


def test_no_two_files_are_alike() -> None:
    assert seal(b"the same") != seal(b"the same")


@given(size=sizes, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(size: int, at: float, bit: int) -> None:
    sealed = bytearray(seal(bytes(size)))
    sealed[int(at * len(sealed))] ^= 1 << bit
    with pytest.raises((DamagedPartError, UnreadablePartError)):
        opened(bytes(sealed))


@given(size=sizes, kept=st.floats(0, 1, exclude_max=True))
def test_a_cut_is_found(size: int, kept: float) -> None:
    sealed = seal(bytes(size))
    with pytest.raises(DamagedPartError):
        opened(sealed[: int(kept * len(sealed))])


def test_chunks_that_lack_or_stand_elsewhere_are_found() -> None:
    header, chunks = chunks_of(seal(bytes(3 * CHUNK_BYTES)))
    other = chunks_of(seal(bytes(3 * CHUNK_BYTES)))[1]
    assert len(chunks) == 3
    for wrong in (
        chunks[:2],
        chunks[1:],
        [],
        [chunks[1], chunks[0], chunks[2]],
        [*chunks, chunks[2]],
        [*chunks, chunks[0]],
        [*chunks, b"x"],
        [chunks[0], other[1], chunks[2]],
    ):
        with pytest.raises(DamagedPartError):
            opened(header + b"".join(wrong))
    assert opened(header + b"".join(chunks)) == bytes(3 * CHUNK_BYTES)


def test_what_comes_before_a_damage_is_authentic() -> None:
    sealed = bytearray(seal(b"a" * CHUNK_BYTES + b"b" * CHUNK_BYTES))
    sealed[-1] ^= 1
    reading = unseal(BytesIO(sealed), "media/x.enc", "calls", KEY)
    assert next(reading) == b"a" * CHUNK_BYTES
    with pytest.raises(DamagedPartError, match=r"media/x.enc: its chunk 2 was cut or changed"):
        next(reading)


def test_another_key_is_named_and_opens_nothing() -> None:
    with pytest.raises(UnreadablePartError, match=r"encrypted with the key d1; the one given is d2"):
        opened(seal(b"audio"), Key("d2", KEY.secret))
    with pytest.raises(DamagedPartError, match="another key of that name"):
        opened(seal(b"audio"), Key("d1", bytes(32)))


@pytest.mark.parametrize("text", [b"", b"RIFF", b"exporter media 2 d1\n" + bytes(64), b"exporter media 1 d1"])
def test_what_is_no_encrypted_media_is_refused(text: bytes) -> None:
    with pytest.raises(DamagedPartError, match="does not begin as encrypted media does"):
        opened(text)


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 61])
def test_a_name_that_would_not_be_read_again_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a key"):
        Sealer(Key(name, KEY.secret))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(UsageError, match=r"install.*cryptography"):
        check_installed()
