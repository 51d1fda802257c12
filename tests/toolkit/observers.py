"""Records what a run tells its observer."""

from exporter.progress import Quiet


class WarningRecorder(Quiet):
    """Records the text of each warning, and of each event that is shown with `-v`."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def note(self, event: str, /, **_details: object) -> None:
        self.notes.append(event)

    def warn(self, event: str, /, **_details: object) -> None:
        self.warnings.append(event)
