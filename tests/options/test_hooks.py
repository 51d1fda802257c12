"""The hooks of a config file, as plain data; every mistake has its line and column."""

from pathlib import Path

import pytest

from exporter.errors import UsageError
from exporter.options.hooks import HookCommand, Hooks, HookUrl
from exporter.options.toml import Node, read_toml


def keys_of(tmp_path: Path, text: str) -> dict[str, Node]:
    file = tmp_path / "exporter.toml"
    file.write_text(f"[hooks]\n{text}\n")
    return read_toml(file).members()["hooks"].members()


def hooks_of(tmp_path: Path, text: str, **variables: str) -> Hooks:
    def resolve(node: Node) -> str:
        text = node.text()
        for name, value in variables.items():
            text = text.replace(f"${{{name}}}", value)
        return text

    return Hooks.of(keys_of(tmp_path, text), resolve)


def test_commands_are_lists_or_texts_and_urls_are_texts_or_tables(tmp_path: Path) -> None:
    hooks = hooks_of(
        tmp_path,
        """
        on_start = ["/bin/page", "a b", ""]
        on_success = "/bin/page --to 'a b' ''"
        on_failure = [["page"], "log it", "https://h.example/x", {url = "https://h.example/y", method = "GET"}]
        on_doubt = "https://h.example/z?a=b"
        ping = "https://hc.example/uuid"
        """,
    )
    assert hooks == Hooks(
        on_start=(HookCommand(("/bin/page", "a b", "")),),
        on_success=(HookCommand(("/bin/page", "--to", "a b", "")),),
        on_failure=(
            HookCommand(("page",)),
            HookCommand(("log", "it")),
            HookUrl("https://h.example/x"),
            HookUrl("https://h.example/y", "GET"),
        ),
        on_doubt=(HookUrl("https://h.example/z?a=b"),),
        ping=HookUrl("https://hc.example/uuid"),
    )
    assert hooks
    assert not Hooks.of({})


def test_what_a_variable_holds_is_never_split(tmp_path: Path) -> None:
    hooks = hooks_of(
        tmp_path, 'on_start = "page ${WHOM} now"\non_doubt = "${WHERE}"', WHOM="a; b", WHERE="https://x.y/"
    )
    assert hooks.on_start == (HookCommand(("page", "a; b", "now")),)
    assert hooks.on_doubt == (HookUrl("https://x.y/"),)


def test_a_file_is_checked_before_its_variables_are_known(tmp_path: Path) -> None:
    hooks = Hooks.of(keys_of(tmp_path, 'ping = "https://${HOST}/x"\non_start = "page ${WHOM}"'))
    assert hooks.on_start == (HookCommand(("page", "${WHOM}")),)
    with pytest.raises(UsageError, match=r"exporter.toml:3:1: hooks.pingg: there is no such key. Did you mean ping\?"):
        Hooks.of(keys_of(tmp_path, 'on_start = "${A}"\npingg = "${B}"'))


def test_no_text_of_a_url_shows_more_than_its_origin() -> None:
    assert "uuid" not in repr(Hooks(ping=HookUrl("https://hc.example/uuid")))


def test_plain_http_goes_to_loopback_unless_it_is_allowed(tmp_path: Path) -> None:
    assert hooks_of(tmp_path, 'ping = "http://127.0.0.1:8/x"').ping == HookUrl("http://127.0.0.1:8/x")
    allowed = hooks_of(tmp_path, 'ping = {url = "http://kuma.internal/x", plain_http = true}')
    assert allowed.ping == HookUrl("http://kuma.internal/x")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('on_start = ""', "2:1: hooks.on_start: must not be empty"),
        ("on_start = []", "2:1: hooks.on_start: must name a command or a URL"),
        ('on_start = [""]', "must name a command or a URL"),
        ("on_start = \"''\"", "must name a command"),
        ("on_start = 3", "must be a text, and is a number"),
        ('on_start = ["a", 3]', "must be a text, and is a number"),
        ('on_start = "page \'x"', "cannot be split into arguments: no closing quotation"),
        ('on_start = ["https://a.b/"]', "a list of texts is one command"),
        ('on_start = "page \\u0000"', "NUL"),
        ('on_start = [["a"], {url = "ftp://x"}]', r"hooks.on_start\[1\].url: must be a URL"),
        ('on_start = {url = "https://x.y/", method = "PUT"}', "hooks.on_start.method: must be"),
        ('on_start = {method = "GET"}', "url is missing here"),
        ('on_start = {url = "https://x.y/", plain_http = 1}', "must be true or false"),
        ('on_start = "http://a.example/"', "would be sent unencrypted"),
        ('ping = "page me"', "must be a URL"),
        ('ping = "/x"', "must be a URL: https://HOST/PATH"),
        ('ping = "https:///x"', "must be a URL: https://HOST/PATH"),
        ('ping = "https://[::1/x"', "must be a URL"),
        ('ping = "https://a.b:99999/x"', "must be a URL"),
        ('ping = "https://user:secret@a.b/x"', "must not hold a user or a password"),
        ('ping = "https://a.b/ak_0123456789"', "looks like a token"),
        ('ping = {url = "https://a.b/", method = "GET"}', "there is no such key"),
        ('ping = ["https://a.b/"]', "must be a text, and is a list"),
    ],
)
def test_mistakes_are_named_and_no_secret_is_quoted(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        hooks_of(tmp_path, text)
    assert "secret" not in str(caught.value)
    assert "ak_0123" not in str(caught.value)
