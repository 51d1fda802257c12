"""The wheel works in an environment that holds nothing else except what it requires."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

from exporter.version import __version__
from tests.toolkit.dated import undated

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "exporter"


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    """Builds and installs it once, because both take seconds."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ".")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == f"anyreach_exporter-{__version__}-py3-none-any.whl"

    packed = {name for name in ZipFile(wheel).namelist() if name.startswith("exporter/")}
    assert packed == {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".md") or path.name == "py.typed"
    }

    environment = tmp_path / "environment"
    made = run(sys.executable, "-m", "venv", "--without-pip", environment)
    assert made.returncode == 0, made.stderr
    installed = run(*pip, "--python", environment / "bin/python", "install", "--no-compile", wheel)
    assert installed.returncode == 0, installed.stderr

    exporter = environment / "bin/exporter"
    assert run(exporter, "--version", cwd=tmp_path).stdout.split() == ["exporter", __version__]
    demo = run(exporter, "demo", "./export", "--rows", "40", cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    manifest = json.loads((tmp_path / "export/_manifest.json").read_bytes())
    assert (manifest["state"], manifest["totals"]["rows"]) == ("complete", 40)

    without = run(exporter, "status", "s3://bucket/export", cwd=tmp_path)
    assert without.returncode == 2
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["objects"]
    packages = " ".join(requirement.partition(">=")[0] for requirement in extra)
    assert undated(without.stderr).endswith(f"\nuv pip install --python {environment}/bin/python {packages}\n")
