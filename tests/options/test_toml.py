"""TOML whose mistakes have their line and column."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.options.toml import Document, Node, Place, name_of, read_toml

ODD = """\
# a comment with [brackets] = and "quotes"
bare = 1.5
"quoted.key" = 'literal # no comment'
'it\\s' = "escaped \\" quote" # comment
spaced . "dotted".key   =   1979-05-27 07:32:00
inline = { a = [1, {b = 2}, "x, y"], "c.d" = '''e''' }
array = [
  "one",  # first
  [2, 3],
  { three = "]" },
]
long = \"\"\"
[no.table]
key = "no key" \"\"\"\"
raw = '''
fake = 1'''

[table."sub.key"]
x = true
[[list]]
y = 1
[[list]]
y = 2
[list.below]
z = 3
"""

STATEMENT = "expected newline or end of document after a statement"


def positions_of(tmp_path: Path, text: str) -> dict[Place, tuple[int, int]]:
    path = tmp_path / "file.toml"
    path.write_bytes(text.encode())
    return read_toml(path).document.positions


def test_every_key_and_item_has_its_line_and_column(tmp_path: Path) -> None:
    positions = positions_of(tmp_path, ODD)
    assert positions == {
        ("bare",): (2, 1),
        ("quoted.key",): (3, 1),
        ("it\\s",): (4, 1),
        ("spaced",): (5, 1),
        ("spaced", "dotted"): (5, 10),
        ("spaced", "dotted", "key"): (5, 19),
        ("inline",): (6, 1),
        ("inline", "a"): (6, 12),
        ("inline", "a", 0): (6, 17),
        ("inline", "a", 1): (6, 20),
        ("inline", "a", 1, "b"): (6, 21),
        ("inline", "a", 2): (6, 29),
        ("inline", "c.d"): (6, 38),
        ("array",): (7, 1),
        ("array", 0): (8, 3),
        ("array", 1): (9, 3),
        ("array", 1, 0): (9, 4),
        ("array", 1, 1): (9, 7),
        ("array", 2): (10, 3),
        ("array", 2, "three"): (10, 5),
        ("long",): (12, 1),
        ("raw",): (15, 1),
        ("table",): (18, 2),
        ("table", "sub.key"): (18, 8),
        ("table", "sub.key", "x"): (19, 1),
        ("list",): (20, 3),
        ("list", 0, "y"): (21, 1),
        ("list", 1, "y"): (23, 1),
        ("list", 1, "below"): (24, 7),
        ("list", 1, "below", "z"): (25, 1),
    }
    assert positions_of(tmp_path, ODD.replace("\n", "\r\n")) == positions


KEYS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=6) | st.text(
    string.ascii_letters, min_size=1, max_size=6
)
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.sampled_from(["", " ", "  "]))
def test_positions_of_any_file_are_those_at_which_its_keys_were_written(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object], space: str
) -> None:
    written: dict[Place, tuple[int, int]] = {}
    text = ""

    def mark(place: Place) -> None:
        written[place] = (text.count("\n") + 1, len(text) - text.rfind("\n"))

    def write_key(key: str, place: Place) -> None:
        nonlocal text
        mark(place)
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        text += f'"{escaped}"{space}={space}'

    def write(value: object, place: Place) -> None:
        nonlocal text
        if isinstance(value, dict):
            text += "{"
            for number, (key, inner) in enumerate(value.items()):
                text += f",{space}" if number else ""
                write_key(key, (*place, key))
                write(inner, (*place, key))
            text += "}"
        elif isinstance(value, list):
            text += "[\n"
            for index, inner in enumerate(value):
                text += space
                mark((*place, index))
                write(inner, (*place, index))
                text += ", # ] }\n"
            text += "]"
        elif isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            text += f'"{escaped}"'
        else:
            text += str(value).lower()

    for key, value in document.items():
        text += "# [x]\n" * len(space) + space
        write_key(key, (key,))
        write(value, (key,))
        text += "\n"
    root = read_any(tmp_path_factory, text)
    assert root.value == document
    assert root.document.positions == written


def read_any(factory: pytest.TempPathFactory, text: str) -> Node:
    path = factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode())
    return read_toml(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = \n", "file.toml:2:5: not TOML: invalid value"),
        (b"a = 1\na = 2\n", "file.toml:2:6: not TOML: cannot overwrite a value"),
        (
            b"a = 7d\n",
            f"file.toml:1:6: not TOML: {STATEMENT}. Write such a value in quotes",
        ),
        (
            b"\na = 64MiB",
            f"file.toml:2:7: not TOML: {STATEMENT}. Write such a value in quotes",
        ),
        (b"a = 7 d\n", f"file.toml:1:7: not TOML: {STATEMENT}"),
        (b'a = "x', "file.toml:1:7: not TOML: unterminated string"),
        (b"a = '\xff'\n", "file.toml:1:6: not UTF-8, as TOML must be"),
        (b"#" * 300_000, "file.toml: larger than 256 KiB, which no such file needs"),
        (b"a = " + b"[" * 50_000, "file.toml: a number is too long, or values are nested too deeply"),
        (b"a" + b".a" * 50 + b" = 1", "file.toml: a number is too long, or values are nested too deeply"),
        (b"a" + b" . a" * 50_000 + b" = 1", "file.toml: a number is too long, or values are nested too deeply"),
        (b"a = " + b"[" * 50 + b"]" * 50, "file.toml: a number is too long, or values are nested too deeply"),
        (b"a = " + b"9" * 5_000, "file.toml: a number is too long, or values are nested too deeply"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_toml(path)
    assert str(refused.value) == f"{tmp_path}/{message}"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        read_toml(tmp_path)


def test_a_place_that_the_text_has_not_is_named_at_the_nearest_around_it() -> None:
    document = Document(Path("p.toml"), {("a",): (3, 1)}, frozenset())
    assert str(document.error(("a", "b c", 0), "is wrong")) == 'p.toml:3:1: a."b c"[0]: is wrong'
    assert str(document.error((), "is empty")) == "p.toml:1:1: is empty"
    assert name_of(("x", "new\nline")) == r"x.'new\nline'"
