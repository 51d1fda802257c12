"""Says that a request gets no answer, and why."""

from exporter.errors import ExporterError


class NoAnswerError(ExporterError):
    """Tells a reader in one or two sentences why there is no answer. `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
