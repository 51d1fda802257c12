"""Docstrings, comments, messages and the manual keep to the part of the language rule that needs no judgement.

The rule itself is under "Language" in `exporter/manual/contributing.md`.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "exporter").rglob("*.py"))
PAGES = [*sorted((ROOT / "exporter/manual").glob("*.md")), ROOT / "README.md"]

#: Expressions for phrases that no text may have, and what to write instead.
PHRASES = {
    "(has|have|had) to be": "must be",
    "who (has|have) to": "a caller that must",
    "for who": "for a caller that",
    "but for": "except, or without",
    "as of": "as in, or see",
    ", too(?=[.,;:])": "also, before the verb",
    "anew": "again",
    "can be had": "exists, or is found",
    "(would )?ends? alike": "fails the same way",
}
#: Words that no docstring begins with, and what to begin with instead.
OPENINGS = {
    "What": "a verb, such as Holds or Describes",
    "Whether": "Returns whether",
    "How many": "Returns the number of",
    "Of": "a verb, with its object",
    "As of": "a verb, and then: as in",
}

_PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def prose_of(source: str) -> str:
    """Returns the comments and strings of a module, each on its own line."""
    prose = ""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type in _PROSE:
            prose += "\n" * (token.start[0] - 1 - prose.count("\n")) + re.sub(r'#:?|"', " ", token.string)
    return prose


def find_phrase(phrase: str, text: str) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of each match, also of one that a line break divides."""
    expression = re.compile(rf"\b{phrase}\b".replace(" ", r"\s+"), re.IGNORECASE)
    for match in expression.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split())


@cache
def docstrings_of(source: str) -> list[tuple[int, str]]:
    """Returns the line and the docstring of each class and function of a module, and of itself."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (getattr(node, "lineno", 1), ast.get_docstring(node) or "")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented)
    ]


def find_opening(opening: str, source: str) -> Iterator[int]:
    """Yields the line of each class, function or module whose docstring begins with these words."""
    return (line for line, docstring in docstrings_of(source) if re.match(rf"{opening}\b", docstring))


@cache
def _texts() -> dict[Path, str]:
    texts = {path: path.read_text() for path in (*MODULES, *PAGES)}
    return {path: prose_of(text) if path.suffix == ".py" else text for path, text in texts.items()}


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_a_phrase_that_reads_as_a_translation(phrase: str) -> None:
    found = [
        f'{path.relative_to(ROOT)}:{line}: "{text}": write {PHRASES[phrase]}'
        for path, prose in _texts().items()
        for line, text in find_phrase(phrase, prose)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("opening", OPENINGS)
def test_every_docstring_begins_with_a_verb_or_a_subject(opening: str) -> None:
    found = [
        f'{module.relative_to(ROOT)}:{line}: "{opening} …": begin with {OPENINGS[opening]}'
        for module in MODULES
        for line in find_opening(opening, module.read_text())
    ]
    assert not found, "\n".join(found)


def test_phrases_are_found_in_comments_and_strings_alone_and_across_lines() -> None:
    source = 'has = "a"\n#: It has\n#: to be so.\nsay("x has "\n    "to be")\n'
    assert list(find_phrase("(has|have|had) to be", prose_of(source))) == [(2, "has to be"), (4, "has to be")]
    assert list(find_opening("How many", 'class Count:\n    """How many there are."""\n')) == [1]
    assert list(find_opening("Of", '"""Offers places."""\n')) == []
