"""Asks for what the API tells beside the list: JSON objects at paths of their own."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from exporter.fetch.wire.answer import Answer, Presence
from exporter.pipeline.attempts import Attempts
from exporter.pipeline.source import object_in

#: The most that is taken of an answer.
_MOST_BYTES: Final = 8 * 1024**2
_Ask: TypeAlias = Callable[[str, Mapping[str, str], Callable[[int], bool]], Awaitable[Answer | Presence]]


class Objects:
    """Finds objects: `ask` makes one attempt at one."""

    def __init__(self, ask: _Ask, attempts: Attempts) -> None:
        self._ask = ask
        self._attempts = attempts

    async def at(self, path: str, parameters: Mapping[str, str], *, is_vital: bool = True) -> dict[str, Any] | None:
        """Returns the JSON object at a path, after as many attempts as it takes, or after one, unless it `is_vital`.

        Returns None if this API has nothing there. A refusal is believed at once: such a path may be refused to any
        token. Raises `SourceError`.
        """

        async def read() -> dict[str, Any] | None:
            answer = await self._ask(path, parameters, _MOST_BYTES.__ge__)
            return None if isinstance(answer, Presence) else object_in(bytes(answer.body))

        with self._attempts.advising():
            return await (self._attempts.pursue(read, trusts=True) if is_vital else read())
