import base64
import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.route import Proxy, check_base_url, choose_proxy, trust

API = "https://api.example.com"
PASSWORD = "hunter2"


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    "url",
    ["https://api.anyreach.ai", "http://127.0.0.1:8080", "http://127.8.9.1", "http://[::1]:80", "http://localhost"],
)
def test_urls_that_keep_the_token_private(url: str) -> None:
    assert check_base_url(url + "/", insecure_http=False) == url


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1", "http://example.com", "http://127.0.0.1.example.com", "http://localhost.example.com:80"],
)
def test_plain_http_needs_a_word_of_consent(url: str) -> None:
    with pytest.raises(UsageError, match=r"the token would travel unencrypted. Use https, or --insecure-http$"):
        check_base_url(url, insecure_http=False)
    assert check_base_url(url, insecure_http=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "api.anyreach.ai", "ftp://a", "https://", "https://a:b", "https://a:99999", "https://u:p@a", "https://a?b",
        "https://a#b", "https://[::1", "file:///etc",
    ],
)  # fmt: skip
def test_urls_that_are_no_origin(url: str) -> None:
    with pytest.raises(UsageError, match=r"^ANYREACH_BASE_URL"):
        check_base_url(url, insecure_http=True)


def test_a_url_s_password_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        check_base_url("https://me:hunter2@example.com", insecure_http=False)
    assert "hunter2" not in str(caught.value)


def chosen(environment: dict[str, str], base_url: str = API) -> str | None:
    """Returns the address of the proxy, with its variable."""
    proxy = choose_proxy(environment, base_url)
    return f"{proxy.variable} {proxy.address}" if proxy else None


@pytest.mark.parametrize(
    ("environment", "base_url", "expected"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": "http://a:1"}, API, "HTTPS_PROXY a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, API, "https_proxy a:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:2"}, API, None),
        ({"http_proxy": "http://a:1", "ALL_PROXY": "http://a:1", "all_proxy": "socks5://a"}, API, None),
        ({"http_proxy": "http://a:1"}, "http://api.example.com", "http_proxy a:1"),
        ({"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "http://a:1"}, "http://api.example.com", None),
    ],
)
def test_which_variable_names_the_proxy(environment: dict[str, str], base_url: str, expected: str | None) -> None:
    assert chosen(environment, base_url) == expected


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:8080", "127.8.9.1", "[::1]:80"])
def test_loopback_is_never_reached_through_a_proxy(host: str) -> None:
    for scheme in ("http", "https"):
        assert chosen({"http_proxy": "a:1", "https_proxy": "a:1"}, f"{scheme}://{host}") is None


@pytest.mark.parametrize(
    "exempted",
    [
        "*", "api.example.com", "API.Example.COM", ".example.com", "example.com", "*.example.com", "com",
        "b.org, example.com", "b.org example.com", "api.example.com:443", "example.com:443", ",,example.com,",
    ],
)  # fmt: skip
def test_hosts_that_are_exempt(exempted: str) -> None:
    assert chosen({"HTTPS_PROXY": "a:1", "NO_PROXY": exempted}) is None
    assert chosen({"HTTPS_PROXY": "a:1", "NO_PROXY": "", "no_proxy": exempted}) is None
    assert chosen({"HTTPS_PROXY": "a:1", "NO_PROXY": exempted, "no_proxy": ""}) == "HTTPS_PROXY a:1"


@pytest.mark.parametrize(
    "exempted", ["", ",", ".", "*.", "le.com", "xapi.example.com", "api.example.com:8443", "example.com.org", "api"]
)
def test_hosts_that_are_not_exempt(exempted: str) -> None:
    assert chosen({"HTTPS_PROXY": "a:1", "NO_PROXY": exempted}) == "HTTPS_PROXY a:1"


def test_an_address_can_be_exempt() -> None:
    environment = {"HTTPS_PROXY": "a:1", "NO_PROXY": "10.1.2.3,[fd00::2]:8443,fd00::1"}
    for host in ("10.1.2.3", "10.1.2.3:8443", "[fd00::1]", "[fd00::2]:8443"):
        assert chosen(environment, f"https://{host}") is None
    assert chosen(environment, "https://[fd00::2]") == "HTTPS_PROXY a:1"


@pytest.mark.parametrize(
    ("text", "address", "credentials"),
    [
        ("http://proxy.example:3128", "proxy.example:3128", None),
        (" http://Proxy.Example:3128/ ", "proxy.example:3128", None),
        ("proxy:3128", "proxy:3128", None),
        ("http://proxy", "proxy:80", None),
        ("http://[fd00::1]:3128", "[fd00::1]:3128", None),
        ("http://me:hunter2@proxy:3128", "proxy:3128", "me:hunter2"),
        ("me:hunter2@proxy:3128", "proxy:3128", "me:hunter2"),
        ("http://me@proxy:3128", "proxy:3128", "me:"),
        ("http://me:p%40ss%3A%2F%C3%BC@proxy:3128", "proxy:3128", "me:p@ss:/ü"),
    ],
)
def test_addresses_and_passwords_of_proxies(text: str, address: str, credentials: str | None) -> None:
    proxy = choose_proxy({"HTTPS_PROXY": text}, API)
    assert proxy == Proxy(address, "HTTPS_PROXY", credentials and basic(credentials))
    assert proxy is not None and proxy.url == f"http://{address}"


@pytest.mark.parametrize(
    "url",
    [
        "socks5://me:hunter2@proxy:1080", "https://me:hunter2@proxy:443", "http://", "http://me:hunter2@", "hunter2://x",
        "http://me:hun/ter2@proxy:1", "http://me:hun?ter2@proxy:1", "http://me:hun#ter2@proxy:1", "http://proxy:hunter2",
        "http://proxy:99999", "http://pro xy:1", "http://[::1", "http://proxy/hunter2", "http://pröxy:1", "http://\u2100:1",
    ],
)  # fmt: skip
def test_what_is_no_http_proxy_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match=r"^https_proxy: must be http://HOST:PORT.*\n.*NO_PROXY$") as caught:
        choose_proxy({"https_proxy": url}, API)
    assert str(caught.value).count("\n") == 1
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert "ter2" not in str(caught.value)


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_any_text_is_a_proxy_or_a_usage_error(text: str) -> None:
    try:
        proxy = choose_proxy({"HTTPS_PROXY": text}, API)
    except UsageError:
        return
    assert proxy is None or proxy.address.isascii()


def test_a_proxy_does_not_show_its_password() -> None:
    proxy = choose_proxy({"HTTPS_PROXY": f"http://me:{PASSWORD}@proxy:1"}, API)
    shown = f"{proxy!r} {proxy}"
    assert "proxy:1" in shown
    assert PASSWORD not in shown
    assert basic(f"me:{PASSWORD}") not in shown


def test_an_authority_is_trusted_in_addition(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context, plain = trust(tmp_path / "ca.pem"), trust(None)
    for each in (context, plain):
        assert (each.verify_mode, each.check_hostname) == (ssl.CERT_REQUIRED, True)
    known = ssl.create_default_context().get_ca_certs(binary_form=True)
    assert plain.get_ca_certs(binary_form=True) == known
    assert {*known, ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())} == set(
        context.get_ca_certs(binary_form=True)
    )


@pytest.mark.parametrize("text", ["", "certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_a_file_without_certificates_is_no_authority(text: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(UsageError, match=r"^--ca-file .*/ca\.pem: must hold certificates in PEM form$"):
        trust(tmp_path / "ca.pem")


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.pem", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as caught:
            trust(path)
        assert str(caught.value) == f"--ca-file {path}: {reason}"
