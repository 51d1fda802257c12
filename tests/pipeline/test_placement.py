import pytest

from exporter.encode.decode import Decoder
from exporter.encode.decoded import DecodedPage
from exporter.errors import TooLargeError, UnplacedError
from exporter.model import PageRequest
from exporter.pipeline.placement import when

pytestmark = pytest.mark.anyio

REQUEST = PageRequest(limit=2)
ROW = b'{"id":"a","created_at":"1970-01-01T00:00:05Z"}'


async def placed(body: bytes, following: bytes | None = None, *, request: PageRequest = REQUEST) -> int | None:
    """Places a page by an API that answers with `following` when asked for more, or with too much for None."""
    with pytest.raises(UnplacedError) as caught:
        Decoder(None).decode(body)

    async def ask(more: PageRequest, most_bytes: int) -> DecodedPage:
        assert more.ids_only
        assert more.limit > request.limit
        if following is None:
            raise TooLargeError(f"more than {most_bytes} bytes")
        return Decoder(None).decode(following)

    return await when(request, caught.value, ask)


@pytest.mark.parametrize("body", [b"[null,null]", b'[{"id":"x"},{}]', b"[[1],2]"])
async def test_rows_without_a_time_stand_with_the_next_that_has_one(body: bytes) -> None:
    assert await placed(body, body[:-1] + b"," + ROW + b"]") == 5_000_000


async def test_a_few_nulls_at_the_end_are_nothing() -> None:
    assert await placed(b"[null]") is None
    assert await placed(b"[null,null]", b"[null,null,null]") is None
    assert await placed(b"[null,null]", b"[]") is None


@pytest.mark.parametrize(
    ("body", "following"),
    [
        (b"[{}]", b"[]"),
        (b'["overloaded"]', b"[]"),
        (b"[[]]", b"[]"),
        (b"[{},null]", b"[{},null]"),
        (b"[null,null]", b"[%b]" % b",".join([b"null"] * 10)),
        (b"[null,null]", b"[null,1]"),
        (b"[null,null]", None),
    ],
)
async def test_anything_else_without_a_time_cannot_be_paged(body: bytes, following: bytes | None) -> None:
    with pytest.raises(UnplacedError):
        await placed(body, following)
