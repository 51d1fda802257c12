"""Installs packages that stand in for presidio, spaCy and a model: with metadata of their own, and with the few names
that the edge to them uses. The model knows some names, and fails at the word CRASH."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporter.encode import entities
from exporter.privacy import Entities

MODEL: Final = "en_stand_in"
ENTITIES: Final = Entities(engine="presidio", language="en", model=MODEL, types=("PERSON", "LOCATION"))
#: What is installed, unless a test says otherwise.
VERSIONS: Final = {MODEL: "1.0.0", "presidio-analyzer": "2.2.1", "spacy": "3.8.1"}

_SOURCES: Final = {
    "spacy/__init__.py": """
import importlib

def load(name):
    return importlib.import_module(name).load()
""",
    f"{MODEL}/__init__.py": """
import re

class Model:
    lang = "en"
    pipe_labels = {"tagger": ["NN"], "ner": ["GPE", "PERSON", "PRODUCT"]}
    names = {"PERSON": "Ann Lee|Ann|Bob|PERSON|LOCATION", "GPE": "London", "PRODUCT": "Anvil"}

    def __call__(self, text):
        assert len(text) <= 20_000
        if "CRASH" in text:
            raise ValueError(text)
        return [(*m.span(), label) for label, names in self.names.items() for m in re.finditer(names, text)]

def load():
    return Model()
""",
    "presidio_analyzer/__init__.py": """
from types import SimpleNamespace

class RecognizerRegistry:
    def __init__(self, recognizers, supported_languages):
        self.recognizers = recognizers

class AnalyzerEngine:
    def __init__(self, registry, nlp_engine, supported_languages):
        (self.recognizer,) = registry.recognizers
        self.engine = nlp_engine

    def analyze(self, text, language, entities):
        names = self.engine.configuration
        found = [(start, end, names.of(label)) for start, end, label in self.engine.nlp[language](text)]
        return [
            SimpleNamespace(start=start, end=end, entity_type=type_)
            for start, end, type_ in found
            if type_ in entities and type_ in self.recognizer.supported_entities
        ]
""",
    "presidio_analyzer/nlp_engine.py": """
class NerModelConfiguration:
    def __init__(self, labels_to_ignore=()):
        self.model_to_presidio_entity_mapping = {"PERSON": "PERSON", "GPE": "LOCATION", "ORG": "ORGANIZATION"}
        self.labels_to_ignore = labels_to_ignore

    def of(self, label):
        return None if label in self.labels_to_ignore else self.model_to_presidio_entity_mapping[label]

class SpacyNlpEngine:
    def __init__(self, models, ner_model_configuration):
        self.configuration = ner_model_configuration

    def load(self):
        raise AssertionError("this would download the model")
""",
    "presidio_analyzer/predefined_recognizers.py": """
class SpacyRecognizer:
    def __init__(self, supported_language, supported_entities):
        self.supported_entities = supported_entities
""",
}


@contextmanager
def installed(folder: Path, versions: dict[str, str] = VERSIONS, model_source: str | None = None) -> Iterator[None]:
    """Lets only these packages be installed, by name and version, as long as the context is open."""
    sources = _SOURCES if model_source is None else {**_SOURCES, f"{MODEL}/__init__.py": model_source}
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    for package, version in versions.items():
        about = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        if package == MODEL:
            (about / "entry_points.txt").write_text(f"[spacy_models]\n{MODEL} = {MODEL}\n")
    _forget()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _forget()


def _forget() -> None:
    entities._load.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in (MODEL, "spacy", "presidio_analyzer")]:
        del sys.modules[name]
