"""Finds names with presidio and spaCy themselves, which no test needs, and measures how long they take for a message.

    pip install '.[entities]'
    python -m benchmarks.entities [MODEL]

Without MODEL, rules stand in for a trained model: they cost next to nothing, so what is left is the time of all else.
Any use of the network ends the program.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Final

import pyarrow as pa

from exporter.encode.entities import protector_of, with_version
from exporter.encode.schema import arrow_schema
from exporter.privacy import Entities, Policy, Rule

RULES: Final = "en_rules"
_MESSAGES: Final = 2000
_WORDS: Final = ("my", "order", "has", "not", "come", "yet", "where", "is", "it", "please")
_RULES_PACKAGE: Final = """
from spacy.util import load_model_from_init_py

def load(**options):
    return load_model_from_init_py(__file__, **options)
"""


def main(model: str) -> None:
    """Prints what becomes of a text, and the time of a message. Raises `UsageError` if something is not installed."""
    entities = Entities(engine="presidio", language="en", model=model, types=("PERSON", "LOCATION"))
    rule = Rule(action="redact", patterns=("entities",))
    policy = with_version(Policy(rules={"summary": rule}, entities=entities, quarantine="keep"))
    protector = protector_of(policy, None)
    schema = pa.schema([arrow_schema(None).field("summary")])

    def protect(*texts: str) -> list[str]:
        batch = pa.RecordBatch.from_pydict({"summary": texts}, schema=schema)
        made: list[str] = protector.protect(batch).column(0).to_pylist()
        return made

    print(entities.model, policy.entities and policy.entities.version)
    print(*protect("This is Grace Okafor, I live in London."))
    texts = _messages()
    seconds, made = _timed(lambda: protect(*texts))
    assert [protect(text)[0] for text in texts[:100]] == made[:100], "a text depends on its batch"
    size = sum(len(text.encode()) for text in texts)
    print(
        f"{1000 * seconds / len(texts):.2f} ms a message of {size // len(texts)} bytes, {size / seconds / 1e6:.3f} MB/s"
    )


def _messages() -> list[str]:
    rng = random.Random(1)
    return [
        f"{number} {' '.join(rng.choices(_WORDS, k=rng.randint(5, 30)))} says Grace Okafor"
        for number in range(_MESSAGES)
    ]


def _timed(work: Callable[[], list[str]]) -> tuple[float, list[str]]:
    began = process_time()
    made = work()
    return process_time() - began, made


def install_rules(folder: Path) -> None:
    """Lets a model that is made of rules be installed in a folder, as models are."""
    import spacy

    nlp = spacy.blank("en")
    nlp.meta.update(name=RULES.removeprefix("en_"), version="1.0.0")
    names = {"PERSON": "Grace Okafor", "GPE": "London"}
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": name} for label, name in names.items()])
    package, about = folder / RULES, folder / f"{RULES}-1.0.0.dist-info"
    package.mkdir()
    nlp.to_disk(package / f"{RULES}-1.0.0")
    (package / "__init__.py").write_text(_RULES_PACKAGE)
    (package / "meta.json").write_text((package / f"{RULES}-1.0.0" / "meta.json").read_text())
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {RULES}\nVersion: 1.0.0\n")
    (about / "entry_points.txt").write_text(f"[spacy_models]\n{RULES} = {RULES}\n")
    sys.path.insert(0, str(folder))


def _refuse_network(event: str, _: object) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"the network was used: {event}")


if __name__ == "__main__":
    sys.addaudithook(_refuse_network)
    with TemporaryDirectory() as folder:
        if len(sys.argv) == 1:
            install_rules(Path(folder))
        main(sys.argv[1] if len(sys.argv) > 1 else RULES)
