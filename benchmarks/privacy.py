"""Measures what a policy costs: hashes and redaction beside the standard library, and exports beside those without one.

`privacy_clocks` measures the engine alone. The exports take turns, each as a process.
"""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.exports import run_export
from benchmarks.measurement import Cost, ratios, run, spread
from benchmarks.policies import OTHER_RULES, TRANSCRIPT_RULES, write_key, write_policy
from benchmarks.privacy_rows import protected_conversations
from benchmarks.server import serving
from benchmarks.size import Size

WITHOUT: Final = "without"
#: The exports, by the rules that they have: none, those for everything but transcripts, and all.
EXPORTS: Final = {WITHOUT: "without a policy", "other": "no rule for transcripts", "all": "a third of transcripts hit"}


class Engine(msgspec.Struct, frozen=True):
    """Holds seconds of CPU: of hashes and of `hmac.digest`, of redaction and of doing it with `json.loads` and `re`.

    `bytes` are those of the transcripts, and `changed` the share that redaction changes.
    """

    hash: float
    digest: float
    redact: float
    naive: float
    bytes: int
    changed: float


class Result(msgspec.Struct, frozen=True):
    """Holds what each round took; `exports` by a key of `EXPORTS`."""

    hashes: int
    rows: int
    engine: list[Engine]
    exports: dict[str, list[Cost]]

    @property
    def hash_ratios(self) -> list[float]:
        return [engine.hash / engine.digest for engine in self.engine]

    @property
    def redaction_ratios(self) -> list[float]:
        return [engine.naive / engine.redact for engine in self.engine]

    def cpu_ratios(self, which: str) -> list[float]:
        """Returns the CPU of these exports ÷ that of the exports without a policy, by round."""
        return ratios(*([cost.cpu_seconds for cost in self.exports[name]] for name in (which, WITHOUT)))


def measure(size: Size, work: Path) -> Result:
    target, file = work / "target", work / "clocks"
    key = ("--privacy-key-file", str(write_key(work / "key")))
    policies = {
        "other": write_policy(work / "other.toml", OTHER_RULES),
        "all": write_policy(work / "all.toml", OTHER_RULES, TRANSCRIPT_RULES),
    }
    options = {name: ("--policy", str(policy), *key) for name, policy in policies.items()}
    engine: list[Engine] = []
    exports: dict[str, list[Cost]] = {name: [] for name in EXPORTS}
    clocks: list[str | Path] = [sys.executable, "-m", "benchmarks.privacy_clocks", file]
    with serving(partial(protected_conversations, size.cost_rows), warm=True) as server:
        for _ in range(size.rounds):
            run([*clocks, str(size.privacy_hashes), str(size.privacy_transcripts)])
            engine.append(msgspec.json.decode(file.read_bytes(), type=Engine))
            for name, costs in exports.items():
                costs.append(run_export(target, server.url, size.cost_rows, *options.get(name, ())))
                shutil.rmtree(target)
    return Result(size.privacy_hashes, size.cost_rows, engine, exports)


def describe(result: Result) -> list[str]:
    megabytes = [engine.bytes / 1e6 for engine in result.engine]
    rate = {
        name: [mb / getattr(engine, name) for mb, engine in zip(megabytes, result.engine, strict=True)]
        for name in ("redact", "naive")
    }
    changed = result.engine[0].changed
    return [
        f"{result.hashes:,} hashes{spread([engine.hash for engine in result.engine]):>24} s of CPU",
        f"as many by hmac.digest{spread([engine.digest for engine in result.engine]):>24} s of CPU",
        f"transcripts, {changed:.0%} hit{spread(rate['redact'], 1):>24} MB/s of CPU",
        f"by json.loads and re{spread(rate['naive'], 1):>24} MB/s of CPU",
        f"{result.rows:,} conversations exported, CPU s",
        *(
            f"{what:30}{spread([cost.cpu_seconds for cost in result.exports[name]]):>24}"
            for name, what in EXPORTS.items()
        ),
    ]
