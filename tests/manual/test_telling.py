"""The pages about hooks and metrics say what is told, under the names that it has."""

import re
import tomllib
from pathlib import Path

from exporter.cli.outcome import Told
from exporter.jobs.metrics import metrics_text
from exporter.options.config import load_config
from exporter.options.hooks import HOOK_KEYS
from exporter.telemetry import _COUNTED
from tests.jobs.test_metrics import NOW, RUN, STANDING
from tests.toolkit.manual import PAGES, in_code
from tests.toolkit.prometheus import samples_of

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> list[str]:
    return [text for found, text in FENCE.findall(PAGES[page].text) if found == kind]


def test_the_examples_of_hooks_are_config_files(tmp_path: Path) -> None:
    examples = blocks("hooks", "toml")
    assert len(examples) == 4
    for text in examples:
        file = tmp_path / "exporter.toml"
        file.write_text(text)
        config = load_config(file, {"CHAT_SECRET": "s", "ACME_CHECK": "c"})
        hooks = config.entry("acme").hooks
        assert hooks
        written = tomllib.loads(text)["exports"]["acme"]["hooks"]
        assert {key for key in HOOK_KEYS if getattr(hooks, key)} == written.keys()


def test_the_keys_of_hooks_and_of_what_they_are_told() -> None:
    keys = [name for key, _ in PAGES["hooks"].table_headed("hook") for name in in_code(key)]
    assert tuple(keys) == ("on_start", "on_success", "on_doubt", "on_failure", "ping")
    assert set(keys) == set(HOOK_KEYS)
    told = [name for key, _ in PAGES["hooks"].table_headed("key", "What is told") for name in in_code(key)]
    assert set(told) == set(Told.__struct_fields__)


def test_each_figure_is_listed_and_no_query_asks_for_another() -> None:
    written = {str(key[0]) for key in samples_of(metrics_text("acme", RUN, STANDING, NOW))}
    listed = [in_code(name)[0] for name, _ in PAGES["metrics"].table_headed("name")]
    assert sorted(listed) == sorted(written)
    for text in (*blocks("metrics", "promql"), *blocks("metrics", "yaml")):
        assert {*re.findall(r"\bexporter_\w+", text)} <= written
        states = {state for found in re.findall(r'state=~?"([\w|]+)"', text) for state in found.split("|")}
        assert states <= {"running", "success", "doubt", "failure", "interrupted"}


def test_the_names_of_telemetry() -> None:
    section = PAGES["metrics"].section("OpenTelemetry")
    assert {f"exporter.{name}" for name in _COUNTED} | {"exporter.request.duration"} <= set(in_code(section))
