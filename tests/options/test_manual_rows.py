"""The manual's table of options is made from the specification."""

from pathlib import Path

from tests.options.manual_rows import rows

ROOT = Path(__file__).parent.parent.parent


def test_the_manual_has_the_rows_of_the_options() -> None:
    pages = [ROOT / "README.md", *(ROOT / "exporter/manual").glob("*.md")]
    made = "\n".join(rows())
    assert any(made in page.read_text(encoding="utf-8") for page in pages), (
        f"paste these rows, which `python -m tests.options.manual_rows` prints, into the manual:\n{made}"
    )
