"""The programs and queries of the manual read exports in stores, as written except for keys and addresses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import exporter
from exporter import blocking
from exporter.contract import DAY
from exporter.sandbox import TOKEN, make_conversations
from tests.manual.conftest import JANUARY
from tests.toolkit.clouds import AZURE_ACCOUNT, AZURE_KEY, S3, Cloud
from tests.toolkit.engines import Engine, clickhouse_engine, duckdb_engine
from tests.toolkit.manual import PAGES, ROOT, in_code, serving
from tests.toolkit.readers import Place

PAGE = PAGES["object-stores"]
BUCKET, PREFIX = "acme-calls", "exports"
QUERIES = PAGE.in_language("sql")
PROGRAMS = PAGE.in_language("python")
#: The words that the page leaves to its readers.
KEYS = {"YOUR_KEY_ID": "AKIAFORTESTS", "YOUR_SECRET": "not-a-secret"}
SCHEMES = ("s3", "az", "gs")
DAYS, ROWS = 6, 100


@pytest.fixture(scope="module")
def places(s3: S3, azure: Cloud, gcs: Cloud) -> Iterator[dict[str, Place]]:
    """Returns the same export in each cloud, by its scheme; the environment leads there."""
    clouds: dict[str, Cloud] = {cloud.scheme: cloud for cloud in (s3, azure, gcs)}
    found = {scheme: Place(f"{scheme}://manual-{BUCKET}/{PREFIX}", cloud) for scheme, cloud in clouds.items()}
    with (
        pytest.MonkeyPatch.context() as environment,
        serving(make_conversations(ROWS, JANUARY, JANUARY + DAYS * DAY)) as url,
    ):
        for scheme, cloud in clouds.items():
            cloud.make_bucket(f"manual-{BUCKET}")
            for name, value in cloud.environment.items():
                environment.setenv(name, value)
            blocking.export(
                exporter.ExportSpec(destination=found[scheme].uri, base_url=url, token=TOKEN, until="2026-02-01")
            )
        # These are what libraries other than the exporter know.
        for name, value in {
            "AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
            "AZURE_STORAGE_ENDPOINT": found["az"].endpoint,
            "AZURE_STORAGE_ALLOW_HTTP": "true",
            "GOOGLE_BASE_URL": found["gs"].endpoint,
            "GOOGLE_SKIP_SIGNATURE": "true",
        }.items():
            environment.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def duckdb(places: dict[str, Place]) -> Iterator[Engine]:
    with duckdb_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def clickhouse(places: dict[str, Place]) -> Iterator[Engine]:
    with clickhouse_engine() as engine:
        yield engine


def test_programs(places: dict[str, Place], tmp_path: Path) -> None:
    """They run one after another in one process, against each store that they can read."""
    wanted = [(text, scheme) for text in PROGRAMS for scheme in SCHEMES if scheme == "s3" or "pandas" not in text]
    programs = [text.replace(f"s3://{BUCKET}/{PREFIX}", places[scheme].uri) for text, scheme in wanted]
    command = [sys.executable, "-W", "error", "-c", "\n".join(programs)]
    # Otherwise the tests hide pandas from processes.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("created_date"), done.stdout.count("telephone")) == (6, 4)


def test_a_profile_leads_polars_to_s3(places: dict[str, Place], tmp_path: Path) -> None:
    (program,) = [text for text in PROGRAMS if "scan_parquet" in text]
    (tmp_path / "config").write_text(
        "[profile nightly]\nregion = us-east-1\n"
        "aws_access_key_id = AKIAFORTESTS\naws_secret_access_key = not-a-secret\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_PROFILE": "nightly",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": places["s3"].endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    program = program.replace(f"s3://{BUCKET}/{PREFIX}", places["s3"].uri)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "created_date" in done.stdout


@pytest.mark.parametrize("query", [text for text in QUERIES if "count()" not in text])
def test_duckdb(query: str, places: dict[str, Place], duckdb: Engine) -> None:
    """The secrets are those of the page, and lead to emulators as well."""
    *before, last = filter(str.strip, query.replace(BUCKET, f"manual-{BUCKET}").split(";"))
    (scheme,) = {scheme for scheme in SCHEMES if f"{scheme}://" in query}
    there = f", ENDPOINT '{urlsplit(places[scheme].endpoint).netloc}', URL_STYLE 'path', USE_SSL false)"
    for statement in before:
        if statement.startswith("CREATE SECRET acme"):
            # Azurite takes no identity in place of a key.
            ours = places["az"].secret if scheme == "az" else statement.strip().removesuffix(")") + there
            statement = ours.replace("SECRET acme", f"SECRET {scheme}")
        duckdb.ask(statement)
    answer = duckdb.ask(last).to_pydict()
    assert (len(answer["created_date"]), sum(answer["conversations"])) == (DAYS, ROWS)


@pytest.mark.parametrize("query", [text for text in QUERIES if "count()" in text])
def test_clickhouse(query: str, places: dict[str, Place], clickhouse: Engine) -> None:
    (scheme,) = {scheme for scheme, word in zip(SCHEMES, (" s3(", "azureBlob", " gcs("), strict=True) if word in query}
    connection = f"AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={places['az'].endpoint};"
    for words, ours in {
        **KEYS,
        "YOUR_CONNECTION_STRING": connection,
        "https://acme-calls.s3.eu-west-1.amazonaws.com": f"{places['s3'].endpoint}/{BUCKET}",
        "https://storage.googleapis.com": places["gs"].endpoint,
    }.items():
        query = query.replace(words, ours)
    answer = clickhouse.ask(query.replace(BUCKET, f"manual-{BUCKET}").strip().removesuffix(";")).to_pydict()
    assert (len(answer["created_date"]), sum(answer["conversations"])) == (DAYS, ROWS), scheme


def test_queries_of_iceberg_tables(places: dict[str, Place], duckdb: Engine, clickhouse: Engine) -> None:
    page, bucket = PAGES["iceberg"], urlsplit(places["s3"].uri).netloc
    with serving(make_conversations(ROWS, JANUARY, JANUARY + DAYS * DAY)) as url:
        options: dict[str, Any] = {"base_url": url, "token": TOKEN, "until": "2026-02-01"}
        blocking.export(exporter.ExportSpec(destination=f"s3://{bucket}/lake", table_format="iceberg", **options))
    duckdb.ask(places["s3"].secret)
    queries = [text for text in in_code(page.prose) if text.startswith("SELECT")]
    assert len(queries) == 2
    for query in queries:
        for words, ours in {
            "https://acme-calls.s3.eu-west-1.amazonaws.com": f"{places['s3'].endpoint}/{BUCKET}",
            "'KEY'": f"'{KEYS['YOUR_KEY_ID']}'",
            "'SECRET'": f"'{KEYS['YOUR_SECRET']}'",
            BUCKET: bucket,
        }.items():
            query = query.replace(words, ours)
        answer = (clickhouse if "icebergS3" in query else duckdb).ask(query)
        assert answer.column(0).to_pylist() == [ROWS]


def test_each_way_is_shown() -> None:
    assert (len(PROGRAMS), len(QUERIES)) == (3, 7)
