"""Records what a run tells its observer."""

from exporter.progress import Quiet


class WarningRecorder(Quiet):
    """Records the text of each warning."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, event: str, /, **_details: object) -> None:
        self.warnings.append(event)
