"""Finds names, places and the like in texts: the optional edge to presidio, and to a model of spaCy behind it.

Nothing is ever downloaded. A model is looked for before presidio is asked, which would download it, and its registry
has no recognizer but that of the model: others look up domains on the network, or know numbers of one country alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from threading import Lock
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from exporter.encode.protect.actions import ENTITIES
from exporter.encode.protect.protector import Protector
from exporter.encode.protect.redaction import Recognizer
from exporter.errors import ExporterError, ProtectionError, UsageError
from exporter.keys import Key
from exporter.privacy import Entities, Policy
from exporter.words import install_command

_PACKAGES: Final = ("presidio-analyzer", "spacy")
#: Where packages of spaCy's models say that they are such.
_MODELS: Final = "spacy_models"
#: The language of models that are for several.
_ANY_LANGUAGE: Final = "xx"
#: A model needs memory by the length of a text, up to a gigabyte for 100,000 characters.
_PIECE_CHARACTERS: Final = 20_000
#: What stands where something was found.
_PLACEHOLDER: Final = re.compile(r"\[[A-Z][A-Z_-]*\]")


class Finding(NamedTuple):
    """Says that `type` was found from `start` until `end`, by characters."""

    start: int
    end: int
    type: str


#: Returns what is found in a text, in any order; findings may overlap.
Finder: TypeAlias = Callable[[str], Iterable[Finding]]


def with_version(policy: Policy) -> Policy:
    """Returns the policy with the versions of what finds its entities, on which its fingerprint depends.

    Raises `UsageError` if a package or the model is not installed or not fit, and `ProtectionError` if the policy is a
    stored one, and other versions are installed.
    """
    if policy.entities is None or not _is_needed(policy):
        return policy
    found = msgspec.structs.replace(policy.entities, version=installed_version(policy.entities))
    if policy.entities.version not in ("", found.version):
        raise ProtectionError(
            f"names are found otherwise by another version: {policy.entities.version} stored, {found.version} "
            "installed. Install the stored versions, or export to a new destination"
        )
    _load(found)
    return msgspec.structs.replace(policy, entities=found)


def protector_of(policy: Policy, key: Key | None) -> Protector:
    """Returns what protects rows by a policy, with all that it needs. Raises as `Protector`, and as `with_version`."""
    found = with_version(policy)
    is_needed = found.entities is not None and _is_needed(policy)
    return Protector(policy, key, _load(found.entities) if found.entities and is_needed else None)


def installed_version(entities: Entities) -> str:
    """Returns the versions of all that finds entities, in words. Raises `UsageError` if something is not installed."""
    versions: list[str] = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError as error:
            raise UsageError(
                f"[entities] needs {package}, which is not installed. To install it:\n{install_command(_PACKAGES[0])}"
            ) from error
    model = next(iter(entry_points(group=_MODELS, name=entities.model)), None)
    if model is None or model.dist is None:
        raise UsageError(
            f"[entities] needs spaCy's model {entities.model}, which is not installed, and never downloaded. Install "
            "its wheel from the releases of spacy-models; on PyPI, packages of such names are somebody else's"
        )
    return ", ".join((f"{entities.model} {model.dist.version}", *versions))


def recognizer(find: Finder) -> Recognizer:
    """Returns what replaces in texts all that is found by its type in brackets. Several threads may use it."""
    lock = Lock()

    def redacted(text: str) -> str:
        with lock:
            return "".join(replaced(piece, find(piece)) for piece in _pieces(text))

    def recognize(texts: Iterable[str]) -> list[str]:
        given = list(texts)
        # A text alone, whatever stands beside it: so its batch has no influence.
        made = {text: redacted(text) for text in dict.fromkeys(given)}
        return [made[text] for text in given]

    return recognize


def replaced(text: str, findings: Iterable[Finding]) -> str:
    """Returns the text with the type of each finding in its place.

    Where findings overlap, all of them go, for the longest, or else the first. What stands for something that was found
    before stays, unless a finding has text on both of its sides.
    """
    places = [match.span() for match in _PLACEHOLDER.finditer(text)]
    pieces: list[str] = []
    end = 0
    for found in _apart(_trimmed(text, each, places) for each in findings):
        pieces += (text[end : found.start], f"[{found.type}]")
        end = found.end
    return "".join((*pieces, text[end:]))


def _apart(findings: Iterable[Finding]) -> list[Finding]:
    """Returns findings of which none overlap, in order, so that they cover the same characters."""
    apart: list[Finding] = []
    longest = 0
    for each in sorted(findings, key=lambda found: (found.start, -found.end, found.type)):
        length = each.end - each.start
        if length <= 0:
            continue
        if not apart or each.start >= apart[-1].end:
            apart.append(each)
            longest = length
            continue
        last = apart[-1]
        type_ = each.type if length > longest else last.type
        apart[-1] = Finding(last.start, max(last.end, each.end), type_)
        longest = max(longest, length)
    return apart


def _trimmed(text: str, found: Finding, places: Sequence[tuple[int, int]]) -> Finding:
    """Returns a finding without the placeholders at its ends, and the white space that is left there."""
    start, end, type_ = found
    for first, last in places:
        if first <= start < last:
            start = last
    for first, last in reversed(places):
        if first < end <= last:
            end = first
    inside = text[start:end]
    return Finding(start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip()), type_)


def _pieces(text: str) -> Iterator[str]:
    """Yields a text in pieces that a model has memory for, cut after a line, or else after a word."""
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        until = start + _PIECE_CHARACTERS
        cuts = (text.rfind(each, start + _PIECE_CHARACTERS // 2, until) + 1 for each in "\n ")
        end = next(filter(None, cuts), until)
        yield text[start:end]
        start = end
    yield text[start:]


def _is_needed(policy: Policy) -> bool:
    return any(ENTITIES in rule.patterns for rule in (*policy.rules.values(), *policy.turns.values()))


@lru_cache(maxsize=1)
def _load(entities: Entities) -> Recognizer:
    """Returns what replaces entities, whose model is installed. Raises `UsageError` if it is not fit for them."""
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import SpacyRecognizer

        nlp = spacy.load(entities.model)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"[entities] {entities.model} cannot be loaded: {reason}") from error
    if nlp.lang not in (entities.language, _ANY_LANGUAGE):
        raise UsageError(f"[entities] {entities.model} is for the language {nlp.lang}, not for {entities.language}")
    names = NerModelConfiguration().model_to_presidio_entity_mapping
    labels = {label for of_pipe in nlp.pipe_labels.values() for label in of_pipe}
    _check_types(entities, {names[label] for label in labels & names.keys()})
    language = entities.language
    # Of a label that is not named, presidio warns at each text.
    engine = SpacyNlpEngine(
        models=[{"lang_code": language, "model_name": entities.model}],
        ner_model_configuration=NerModelConfiguration(labels_to_ignore=sorted(labels - names.keys())),
    )
    engine.nlp = {language: nlp}
    of_model = SpacyRecognizer(supported_language=language, supported_entities=list(entities.types))
    registry = RecognizerRegistry(recognizers=[of_model], supported_languages=[language])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])
    return recognizer(_finder(analyzer, entities))


def _check_types(entities: Entities, known: set[str]) -> None:
    if missing := [each for each in entities.types if each not in known]:
        raise UsageError(
            f"[entities] {entities.model} finds no {', '.join(missing)}; it finds "
            f"{', '.join(sorted(known)) or 'nothing'}. What has a form of its own is for patterns"
        )


def _finder(analyzer: Any, entities: Entities) -> Finder:
    types = list(entities.types)

    def find(text: str) -> list[Finding]:
        try:
            results = analyzer.analyze(text=text, language=entities.language, entities=types)
        except Exception as error:  # noqa: BLE001 - its message may quote the text
            raise ExporterError(
                f"{entities.model} failed at a text ({type(error).__name__}), so its rows were not written"
            ) from None
        return [Finding(each.start, each.end, each.entity_type) for each in results]

    return find
