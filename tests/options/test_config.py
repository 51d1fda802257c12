"""A config file names many exports: what lies over what, and where each mistake in it stands."""

import itertools
import json
import os
import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.options.config import Entry, load_config
from exporter.options.config_keys import TOKEN_OPTIONS
from exporter.options.config_layers import Layer
from exporter.options.config_place import find_config
from exporter.options.hooks import HookCommand
from exporter.options.spec import ExportSpec
from exporter.options.toml import Document, Node
from tests.toolkit.option_values import ENVIRONMENT, GOES_WITH, LITERALS, value_of


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def entry(tmp_path: Path, text: str, name: str = "acme", environment: Mapping[str, str] | None = None) -> Entry:
    return load_config(write(tmp_path / "exporter.toml", text), environment or {}).entry(name)


WHOLE = """\
[defaults]
destination = "calls/${NAME}"
token_file = "/run/secrets/${NAME}"
max_rps = 20
[defaults.hooks]
on_failure = ["page", "${NAME}"]
ping = "https://hc.example/${HC}"
[hooks]
on_start = "log start"
[templates.base]
page_size = 500
max_rps = 10
[templates.voice]
extends = "base"
channel = "telephone"
[templates.voice.hooks]
on_failure = "page voice"
[exports.acme]
extends = "voice"
since = 2026-01-01
custom_metadata = { plan = "${PLAN}", price = "$$5" }
refilter = true
keep_generations = 3
metrics_file = "/metrics/${NAME}.prom"
[exports."acme.eu"]
extends = "acme"
command = "export"
destination = "s3://lake/eu/"
created_after = 2026-01-02T10:00:00
metrics_file = "eu.prom"
"""


TOKENS = """\
[defaults]
destination = "calls/${NAME}"
token = "${COMMON}"
[templates.unused]
token = "${OF_UNUSED}"
[exports.acme]
token = "${OF_ACME}"
page_size = 10
[exports.acme.hooks]
on_failure = "page ${OF_GLOBEX}"
[exports.globex]
token = "${OF_GLOBEX}"
[exports.initech]
[exports.hooli]
token_file = "hooli"
"""


def test_the_variables_that_hold_tokens_are_known_and_who_needs_them(tmp_path: Path) -> None:
    config = load_config(write(tmp_path / "exporter.toml", TOKENS), {"OF_ACME": "a", "OF_GLOBEX": "g"})
    variables = {"COMMON", "OF_UNUSED", "OF_ACME", "OF_GLOBEX"}
    assert config.entry("acme").token_variables == variables
    everything = {*variables, "ANYREACH_TOKEN"}
    # A hook is started with what its own argument names.
    assert config.variables_of_others("acme") == everything - {"OF_ACME", "OF_GLOBEX"}
    assert config.variables_of_others("initech") == everything - {"COMMON"}
    assert config.variables_of_others("hooli") == everything


def test_an_entry_without_a_token_takes_the_one_of_the_environment(tmp_path: Path) -> None:
    text = '[exports.acme]\ndestination = "a"\n[exports.globex]\ndestination = "b"\ntoken = "${OF_GLOBEX}"\n'
    config = load_config(write(tmp_path / "exporter.toml", text), {})
    assert config.variables_of_others("acme") == {"OF_GLOBEX"}
    assert config.variables_of_others("globex") == {"ANYREACH_TOKEN"}


def test_an_entry_lies_over_what_it_extends_and_that_over_the_defaults(tmp_path: Path) -> None:
    acme, europe = (entry(tmp_path, WHOLE, name, {"HC": "x-1", "PLAN": "gold"}) for name in ("acme", "acme.eu"))
    assert acme.destination == str(tmp_path / "calls/acme")
    assert (acme.command, acme.sync) == ("sync", {"refilter": True, "keep_generations": 3})
    assert acme.options == {
        "since": date(2026, 1, 1),
        "channel": "telephone",
        "custom_metadata": {"plan": "gold", "price": "$5"},
        "max_rps": 10,
        "page_size": 500,
        "token_file": "/run/secrets/acme",
    }
    assert acme.metrics_file == Path("/metrics/acme.prom")
    assert acme.hooks.on_failure == (HookCommand(("page", "voice")),)
    assert acme.hooks.on_start == (HookCommand(("log", "start")),)
    assert acme.hooks.ping is not None and acme.hooks.ping.url == "https://hc.example/x-1"
    assert acme.spec == ExportSpec(destination=acme.destination, **acme.options)
    assert (europe.destination, europe.command, europe.sync) == ("s3://lake/eu", "export", {})
    # One name of a thing takes the place of another below it.
    assert europe.options["created_after"] == datetime(2026, 1, 2, 10)
    assert "since" not in europe.options
    assert europe.metrics_file == tmp_path / "eu.prom"


TABLES = ("defaults", "templates.base", "exports.acme")


@pytest.mark.parametrize("name", LITERALS)
def test_for_each_option_the_entry_is_heeded_before_its_template_and_that_before_the_defaults(
    name: str, tmp_path: Path
) -> None:
    with_it = GOES_WITH.get(name, "")
    for present in itertools.product((True, False), repeat=3):
        text, expected = "", None
        for table, literal, is_present in zip(TABLES, LITERALS[name][:3], present, strict=True):
            text += f"[{table}]\n" + (f"{name} = {literal}\n" if is_present else "")
            expected = value_of(literal) if is_present else expected
        text += f'extends = "base"\ncommand = "export"\ndestination = "/srv/acme"\n{with_it}'
        options = entry(tmp_path, text, environment=ENVIRONMENT).options
        assert options.get(name) == expected, present


BAD = [
    tuple(block.rsplit("\n=> ", 1)) for block in (Path(__file__).parent / "bad_configs.txt").read_text().split("\n\n")
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[said for _, said in BAD])
def test_a_mistake_is_named_with_its_line_column_and_key(text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "exporter.toml", text)
    with pytest.raises(UsageError) as error:
        load_config(file, {}).entry("acme")
    assert str(error.value) == f"{file}:{said.strip()}"


def test_no_mistake_shows_a_token(tmp_path: Path) -> None:
    shown = [said for text, said in BAD if "ak_1.secret" in text or "pat_0123456789abcdef" in text]
    assert len(shown) == 2
    assert not [said for said in shown if "secret" in said or "0123456789abcdef" in said]
    acme = entry(tmp_path, ONE + 'token = "${T}"\n[hooks]\non_start = "say ${T}"', environment={"T": "ak_1.secret"})
    assert acme.options["token"] == "ak_1.secret"
    assert "secret" not in f"{acme} {acme.spec} {load_config(tmp_path / 'exporter.toml', {'T': 'ak_1.secret'})}"


ONE = '[exports.acme]\ndestination = "calls"\n'
TEXTS = st.text(st.sampled_from('a7d$${}~-_/:=,. é\n"'), max_size=6)
SCALARS = st.booleans() | st.integers(-3, 10**20) | st.floats() | TEXTS | st.dates() | st.datetimes()
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXTS, SCALARS, max_size=2)


def toml_of(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{toml_of(key)} = {toml_of(each)}" for key, each in value.items()) + "}"
        case list():
            return f"[{', '.join(map(toml_of, value))}]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case date():
            return value.isoformat()
    return str(value).lower()


@given(st.sampled_from([*LITERALS]), VALUES)
def test_any_value_of_any_key_is_taken_or_refused_at_its_place(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    file = write(tmp_path_factory.getbasetemp() / "any.toml", f"{ONE}{key} = {toml_of(value)}")
    try:
        load_config(file, {}).entry("acme")
    except UsageError as error:
        assert re.match(rf"{re.escape(str(file))}:3:\d+: exports\.acme\.{key}", str(error)), error
        assert "\n" not in str(error)


def test_an_entry_does_not_stop_another_one_that_has_what_it_lacks(tmp_path: Path) -> None:
    text = (
        f'{ONE}[exports.beta]\ndestination = "${{ROOT}}/b"\npolicy = "${{P}}"\nsince = 2999-01-01\ntimezone = "UTC"\n'
    )
    assert entry(tmp_path, text, "acme").destination == str(tmp_path / "calls")
    with pytest.raises(UsageError, match=r"exports\.beta\.since: nothing to export"):
        entry(tmp_path, text, "beta", {"ROOT": "/srv", "P": "policy.toml"})
    with pytest.raises(UsageError, match="the environment variable P is not set, or is empty"):
        entry(tmp_path, text, "beta", {"ROOT": "/srv", "P": ""})
    with pytest.raises(UsageError, match=r"there is no export 'acne'\. Did you mean acme\?"):
        entry(tmp_path, text, "acne")


def test_what_a_variable_holds_is_checked_at_its_place(tmp_path: Path) -> None:
    text = f'{ONE}table_format = "${{KIND}}"\niceberg_catalog = "glue"'
    assert entry(tmp_path, text, environment={"KIND": "iceberg"}).options["table_format"] == "iceberg"
    with pytest.raises(UsageError, match=r':3:1: exports\.acme\.table_format: must be "delta" or "iceberg"'):
        entry(tmp_path, text, environment={"KIND": "hudi"})
    with pytest.raises(UsageError, match=r":4:1: exports\.acme\.iceberg_catalog: give it together with"):
        entry(tmp_path, text, environment={"KIND": "delta"})


def test_two_ways_to_one_directory_are_one_destination(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = '[exports.acme]\ndestination = "real/a"\n[exports.beta]\ndestination = "${WHERE}/a"\n'
    with pytest.raises(UsageError, match=r":3:10: exports\.beta: has the same destination as exports\.acme"):
        entry(tmp_path, text, environment={"WHERE": "link"})
    assert entry(tmp_path, text, environment={}).destination == str(tmp_path / "real/a")
    assert entry(tmp_path, text, environment={"WHERE": "other"}).destination == str(tmp_path / "real/a")
    assert entry(tmp_path, text, environment={"WHERE": "ftp://x"}).destination == str(tmp_path / "real/a")


def test_a_file_that_cannot_be_read_is_refused_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "exporter.toml"
    with pytest.raises(UsageError, match=r"exporter\.toml: No such file or directory$"):
        load_config(file, {})
    file.mkdir()
    with pytest.raises(UsageError, match=r"exporter\.toml: not a regular file$"):
        load_config(file, {})
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(UsageError, match=r"exporter\.toml: not a regular file$"):
        load_config(file, {})
    file.unlink()
    file.write_bytes(b"# \xff")
    with pytest.raises(UsageError, match=r"exporter\.toml:1:3: not UTF-8"):
        load_config(file, {})
    file.write_text("#" * 300_000)
    with pytest.raises(UsageError, match=r"exporter\.toml: larger than 256 KiB"):
        load_config(file, {})


def test_a_file_full_of_tables_that_extend_one_another_is_refused_at_once(tmp_path: Path) -> None:
    chain = "".join(f'[templates.t{n}]\nextends = "t{n + 1}"\n' for n in range(2000))
    with pytest.raises(UsageError, match=r":64:1: templates\.t31\.extends: more than 32 tables extend one another"):
        entry(tmp_path, f"{chain}[templates.t2000]\n[exports.acme]\n")


def test_the_file_is_found_where_it_is_named_then_here_then_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = {"HOME": str(tmp_path / "home")}
    own = tmp_path / "home/.config/exporter/exporter.toml"
    other = tmp_path / "xdg/exporter/exporter.toml"
    assert find_config(None, {}) is None
    assert find_config(None, home) is None
    for path in (own, other):
        path.parent.mkdir(parents=True)
        path.touch()
    assert find_config(None, home) == own
    assert find_config(None, {**home, "XDG_CONFIG_HOME": "xdg"}) == own
    assert find_config(None, {**home, "XDG_CONFIG_HOME": str(tmp_path / "xdg")}) == other
    write(tmp_path / "exporter.toml", ONE)
    write(tmp_path / "named.toml", ONE)
    assert find_config(None, home) == Path("exporter.toml")
    assert find_config(None, {**home, "EXPORTER_CONFIG": ""}) == Path("exporter.toml")
    assert find_config(None, {**home, "EXPORTER_CONFIG": "named.toml"}) == Path("named.toml")
    assert find_config("exporter.toml", {"EXPORTER_CONFIG": "named.toml"}) == Path("exporter.toml")
    for named, environment, said in (
        ("", {}, "--config: must name a file"),
        ("none.toml", {}, r"--config none\.toml: there is no such file"),
        (None, {"EXPORTER_CONFIG": "none.toml"}, r"EXPORTER_CONFIG none\.toml: there is no such file"),
    ):
        with pytest.raises(UsageError, match=said):
            find_config(named, environment)


def test_a_file_of_this_directory_that_another_user_owns_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "exporter.toml", ONE)
    owner = os.geteuid() or 12345
    if os.geteuid() == 0:
        os.chown("exporter.toml", owner, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UsageError, match="belongs to another user, and a config file may name commands to run"):
        find_config(None, {})
    assert find_config("exporter.toml", {}) == Path("exporter.toml")


def test_a_file_of_this_directory_that_anybody_can_write_to_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "exporter.toml", ONE).chmod(0o666)
    with pytest.raises(UsageError, match="anybody can write to it, and a config file may name commands to run"):
        find_config(None, {})
    Path("exporter.toml").chmod(0o664)
    assert find_config(None, {}) == Path("exporter.toml")


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    text = (
        '[defaults]\nmax_rsp = 3\n[hooks]\non_fail = "x"\n[exports.acme]\ndestination = 3\nsince = "soon"\n'
        "[exports.run]\n"
    )
    with pytest.raises(UsageError) as raised:
        load_config(write(tmp_path / "exporter.toml", text), {})
    lines = str(raised.value).splitlines()
    assert [re.sub(r".*exporter\.toml:(\d+).*: ([\w.]+): .*", r"\1 \2", line) for line in lines] == [
        "4 hooks.on_fail",
        "2 defaults.max_rsp",
        "6 exports.acme.destination",
        "8 exports.run",
    ]
    many = "".join(f'[exports.e{number}]\ndestination = "{number}"\nsince = "soon"\n' for number in range(30))
    with pytest.raises(UsageError) as raised:
        load_config(write(tmp_path / "exporter.toml", many), {})
    lines = str(raised.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 10 more"


def test_what_a_variable_holds_is_one_argument_of_a_command(tmp_path: Path) -> None:
    text = '[exports.acme]\ndestination = "calls"\ntoken_command = "op read \'a b\' ${REF}"\n'
    found = entry(tmp_path, text, environment={"REF": "My Vault's key --reveal"})
    assert found.options["token_command"] == ["op", "read", "a b", "My Vault's key --reveal"]


def test_a_filter_lies_over_the_same_one_below_however_it_is_written(tmp_path: Path) -> None:
    exports = '[exports.acme]\ndestination = "a"\nstatus = "failed"\n[exports.beta]\ndestination = "b"\n'
    table = '[defaults]\nfilters = { status = "completed", x_caller = "1" }\n'
    layered = table + exports
    assert entry(tmp_path, layered).options == {"status": "failed", "filters": {"x_caller": "1"}}
    text = '[defaults]\nstatus = "failed"\n[exports.acme]\ndestination = "a"\nfilters = { status = "completed" }\n'
    assert entry(tmp_path, text).options == {"filters": {"status": "completed"}}


SOURCES = (*TOKEN_OPTIONS, "org_id")
BELOW = st.fixed_dictionaries({}, optional={name: st.just("below") for name in (*SOURCES, "since", "max_rps")})


@given(BELOW, st.sets(st.sampled_from(SOURCES)))
def test_a_source_of_the_token_that_is_given_drops_the_others_below(below: dict[str, str], above: set[str]) -> None:
    document = Document(Path("exporter.toml"), {}, frozenset())
    upper, lower = (
        Layer({name: Node(document, (name,), value) for name, value in keys.items()})
        for keys in (dict.fromkeys(above, "above"), below)
    )
    found = upper.over(lower).keys
    left = {name: node.value for name, node in found.items() if node.value == "below"}
    assert left.items() <= below.items()
    dropped = below.keys() - left.keys()
    assert dropped == below.keys() & (above | (set(TOKEN_OPTIONS) if above & set(TOKEN_OPTIONS) else set()))
    assert {name for name, node in found.items() if node.value == "above"} == above
