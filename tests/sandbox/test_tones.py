import io
import time
import wave
from array import array

from hypothesis import given
from hypothesis import strategies as st

from exporter.sandbox.tones import make_tone

SIZES = st.integers(44, 1_000_000)


def whole(name: str, size: int | None = None) -> bytes:
    tone = make_tone(name, size)
    return tone.read(0, tone.size)


def test_a_recording_is_a_wave_file_of_a_second_or_two_in_which_both_are_heard_in_turn() -> None:
    for name in map(str, range(20)):
        with wave.open(io.BytesIO(whole(name))) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
            assert 1 <= file.getnframes() / file.getframerate() <= 2
            frames = array("h", file.readframes(file.getnframes()))
        left, right = frames[0:-4:2], frames[1:-4:2]
        assert max(max(left), max(right)) > 5000
        assert not any(caller and agent for caller, agent in zip(left, right, strict=True))
        assert sum(map(bool, left)) + sum(map(bool, right)) > len(left) / 2


def test_the_same_name_makes_the_same_bytes_and_another_one_others() -> None:
    assert whole("a") == whole("a")
    assert len({make_tone(str(number)).sound for number in range(500)}) == 500


def test_two_recordings_of_one_melody_differ_where_nobody_hears_it() -> None:
    one, other = make_tone("3490").sound, make_tone("5587").sound
    assert one[:-8] == other[:-8]
    assert one != other


@given(SIZES)
def test_a_recording_has_the_size_that_is_asked_for_and_says_so(size: int) -> None:
    body = whole("a", size)
    assert len(body) == size
    assert int.from_bytes(body[4:8], "little") + 8 == int.from_bytes(body[40:44], "little") + 44 == size


@given(SIZES, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_a_part_is_a_slice_of_the_whole_however_it_is_read(size: int, one: int, other: int) -> None:
    start, end = sorted((min(one, size), min(other, size)))
    tone = make_tone("a", size)
    assert tone.read(start, end) == b"".join(tone.chunks(start, end)) == whole("a", size)[start:end]


def test_a_size_beyond_what_a_header_can_say_is_told_as_the_largest() -> None:
    tone = make_tone("a", 6_000_000_000)
    assert tone.read(4, 8) == b"\xff" * 4
    assert len(tone.read(5_999_999_990, 6_000_000_000)) == 10


def test_many_are_made_in_a_second() -> None:
    began = time.process_time()
    for number in range(200):
        whole(str(number))
    assert time.process_time() - began < 0.4
