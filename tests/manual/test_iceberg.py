"""Iceberg tables lie in buckets, and in catalogs, as the manual says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

from pyiceberg.catalog import load_catalog

from exporter.contract import DAY
from exporter.sandbox import gate, make_conversations
from tests.manual.conftest import JANUARY
from tests.toolkit.clouds import S3
from tests.toolkit.lake import s3_properties
from tests.toolkit.manual import PAGES, in_code, serving, start_shell

PAGE = PAGES["iceberg"]


def test_a_bucket_with_and_without_a_catalog(tmp_path: Path, s3: S3) -> None:
    s3.make_bucket("acme-calls")
    (profile,) = re.findall(r"AWS_PROFILE=(\w+)", PAGE.command_holding("AWS_PROFILE"))
    (tmp_path / "config").write_text(
        f"[profile {profile}]\nregion = eu-west-1\nendpoint_url = {s3.url}\n"
        "aws_access_key_id = AKIAFORTESTS\naws_secret_access_key = not-a-secret\n"
    )
    (configuration,) = PAGE.in_language("yaml")
    (tmp_path / ".pyiceberg.yaml").write_text(configuration)
    variables = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_PROFILE": profile,
        "PYICEBERG_HOME": str(tmp_path),
        "PYICEBERG_CATALOG__WAREHOUSE__GLUE__ENDPOINT": s3.url,
    }

    def shell(command: str) -> CompletedProcess[str]:
        # pyiceberg reads its configuration once, as it is loaded.
        done = start_shell(command, tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=url, **variables)
        assert done.returncode == 0, (command, done.stderr)
        return done

    with serving(make_conversations(60, JANUARY + 29 * DAY, JANUARY + 33 * DAY)) as url:
        for line in PAGE.command_holding("AWS_PROFILE").splitlines()[1:]:
            shell(line)
        shell(PAGE.command_holding("--iceberg-catalog"))
        (program,) = PAGE.in_language("python")
        # What leads a reader to this store, in place of Amazon's, is a property of the table as well.
        region = '{"s3.region": "eu-west-1"}'
        assert region in program
        options = {"AWS_ENDPOINT_URL": s3.url, "AWS_REGION": "eu-west-1"}
        keys = {"AWS_ACCESS_KEY_ID": "AKIAFORTESTS", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
        properties = s3_properties({**options, **keys})
        leading = {name: value for name, value in properties.items() if "key" not in name}
        assert {*properties} - {*leading} <= {*in_code(PAGE.section("Without a catalog"))}
        program = program.replace(region, repr(leading))
        command = [sys.executable, "-W", "error", "-c", program]
        read = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **keys, "POLARS_ICEBERG_PLANNER": "pyiceberg"},
            capture_output=True,
            text=True,
        )
        assert read.returncode == 0, read.stderr
        assert "generation" in read.stdout
        shell("exporter vacuum s3://acme-calls/listed --older-than 0s")
        for place in ("lake", "listed"):
            shell(f"exporter verify s3://acme-calls/{place}")
    (rights,) = [needs for name, needs in PAGE.table_headed("catalog") if name.startswith("Glue")]
    asked = {f"glue:{one.action}" for one in s3.gate.asked if one.action}
    assert asked <= set(re.findall(r"`(glue:\w+)`", rights))
    glue = {"type": "glue", "glue.endpoint": s3.url, "glue.region": "eu-west-1"}
    secrets = {"glue.access-key-id": "AKIAFORTESTS", "glue.secret-access-key": "not-a-secret"}
    catalog = load_catalog("any", **glue, **secrets, **properties)
    assert catalog.load_table("calls.conversations").scan().count() == 60
