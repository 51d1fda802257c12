"""Tests where an export lies: what is a path, what is a URL, and what is neither."""

import os
import subprocess
from pathlib import Path

import pytest

from exporter.errors import UsageError
from exporter.store.location import Url, parse_location, shell_word
from tests.toolkit.programs import find_program


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("out", Path("out")),
        ("/srv/a b", Path("/srv/a b")),
        ("s3://bucket", Url("s3", "bucket")),
        ("S3://bucket/", Url("s3", "bucket")),
        ("gs://some.bucket_1/a/b/", Url("gs", "some.bucket_1", "a/b")),
        ("az://container/möbel und mehr", Url("az", "container", "möbel und mehr")),
    ],
)
def test_paths_and_urls_are_told_apart(text: str, location: Path | Url) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\0b",
        "file:///tmp/x",
        "https://bucket/x",
        "s3://",
        "s3:///x",
        "s3://b/x",
        "s3://a bucket/x",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "s3://bucket/./x",
        "s3://bucket/a\nb",
        "s3:/bucket/x",
    ],
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_location(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@bucket/x",
        "s3://secret@bucket",
        "az://container/x?sig=secret",
        "gs://bucket/x#secret",
        "https://user:secret@host/x",
    ],
)
def test_no_credentials_are_taken_from_a_url_or_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert "secret" not in str(caught.value)


def test_a_url_names_what_lies_there() -> None:
    assert Url("s3", "bucket") / "_manifest.json" == "s3://bucket/_manifest.json"
    assert str(Url("az", "c", "a/b") / "turns/x") == "az://c/a/b/turns/x"


def test_an_access_point_is_given_by_its_alias() -> None:
    with pytest.raises(UsageError, match="-s3alias"):
        parse_location("s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/calls/x")
    assert parse_location("s3://calls-abc-s3alias/x") == Url("s3", "calls-abc-s3alias", "x")


@pytest.mark.parametrize(
    "name",
    [
        "out",
        ".",
        "-dash",
        "a b",
        "it's",
        "$H`x`",
        "back\\slash",
        "nl\nx'y\\",
        "ü–ñ",
        "caf\udce9",
        "\x1b[1m",
        "bell\x07\x31",
    ],
)
def test_a_shell_takes_a_destination_for_one_word_on_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    word = shell_word(Path(name))
    assert word.isprintable()
    bash = find_program("bash", "apt-get install bash")
    done = subprocess.run([bash, "-c", f"printf '%s\\0' {word}"], capture_output=True, check=True, cwd="/")
    assert parse_location(os.fsdecode(done.stdout.removesuffix(b"\0"))) == Path(name)
    assert not done.stdout.startswith(b"-")


def test_a_shell_takes_a_url_for_one_word() -> None:
    assert shell_word(Url("s3", "bucket", "a b")) == "'s3://bucket/a b'"
