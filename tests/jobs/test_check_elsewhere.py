"""Tests what a check finds in object stores that refuse or lie, on disks of other kinds, and on the way to the API."""

import asyncio
import os
import re
import secrets
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from anyio import to_thread

from exporter.clock import wall_clock
from exporter.contract import HOUR
from exporter.errors import InterruptedExportError
from exporter.jobs.check import check
from exporter.options.preparation import prepare
from exporter.options.spec import ExportSpec
from exporter.sandbox import TOKEN
from exporter.store.location import Url, parse_location
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.objects.lease import encode_lease, new_lease
from exporter.store.objects.probe import trial_path
from exporter.store.objects.store import ObjectStore
from tests.jobs.test_check import ADDRESS, by_grade, checked
from tests.toolkit.clouds import S3, Answer, AskedRequest, serving
from tests.toolkit.forward_proxy import ForwardProxy

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]


@pytest.fixture
def cloud(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    yield s3
    s3.gate.answers, s3.gate.ignores_conditions = (lambda _: None), False


@pytest.fixture
def bucket(cloud: S3) -> Bucket:
    name = f"checks-{secrets.token_hex(4)}"
    cloud.make_bucket(name)
    url = Url("s3", name, "pre")
    return Bucket(url, open_bucket(url))


def refusing(method: str) -> Callable[[AskedRequest], Answer | None]:
    def answer(asked: AskedRequest) -> Answer | None:
        is_delete = asked.method == "POST" and "delete" in asked.query
        asks = "DELETE" if is_delete else "LIST" if "list-type" in asked.query else asked.method
        return Answer(403, "AccessDenied") if asks == method else None

    return answer


async def test_a_bucket_that_takes_everything(bucket: Bucket) -> None:
    result = await checked(bucket.url)
    assert {"destination", "lock", "write", "create", "list", "delete", "space", "export"} <= set(
        by_grade(result, "ok")
    )
    assert bucket.sizes("") == {}


async def test_a_bucket_that_refuses_to_delete(bucket: Bucket, cloud: S3) -> None:
    cloud.gate.answers = refusing("DELETE")
    result = await checked(bucket.url)
    (left,) = bucket.sizes("")
    said = by_grade(result, "wrong")["delete"]
    assert f"{bucket.url / left} stays there" in said
    assert {"write", "create", "list"} <= set(by_grade(result, "ok"))
    assert result.exit_status == 1


@pytest.mark.parametrize(("method", "named"), [("PUT", "write"), ("LIST", "destination")])
async def test_a_bucket_that_refuses(method: str, named: str, bucket: Bucket, cloud: S3) -> None:
    cloud.gate.answers = refusing(method)
    result = await checked(bucket.url)
    assert "AccessDenied" in by_grade(result, "wrong")[named] or "denied" in by_grade(result, "wrong")[named]
    assert "delete" in by_grade(result, "not tried")
    assert result.exit_status == 2
    cloud.gate.answers = lambda _: None
    assert bucket.sizes("") == {}


async def test_a_bucket_that_lies_about_conditions(bucket: Bucket, cloud: S3) -> None:
    cloud.gate.ignores_conditions = True
    result = await checked(bucket.url)
    assert "ignores If-None-Match" in by_grade(result, "wrong")["create"]
    assert "delete" in by_grade(result, "ok")
    assert bucket.sizes("") == {}
    assert result.exit_status == 2


async def stopped_check(bucket: Bucket, cloud: S3, *, may_delete: bool) -> None:
    """Checks a bucket, and is stopped as by a signal while the first object is being written."""
    is_writing, goes_on = threading.Event(), threading.Event()
    refuses = refusing("DELETE")

    def answer(asked: AskedRequest) -> Answer | None:
        if asked.method == "PUT":
            is_writing.set()
            assert goes_on.wait(30)
        return None if may_delete else refuses(asked)

    cloud.gate.answers = answer
    checking = asyncio.create_task(checked(bucket.url))
    await to_thread.run_sync(is_writing.wait, 30)
    checking.cancel()
    await asyncio.sleep(0)  # until it is told
    goes_on.set()
    try:
        await checking
    finally:
        cloud.gate.answers = lambda _: None


async def test_a_check_that_is_stopped_leaves_nothing(bucket: Bucket, cloud: S3) -> None:
    with pytest.raises(asyncio.CancelledError):
        await stopped_check(bucket, cloud, may_delete=True)
    assert bucket.sizes("") == {}


async def test_a_stopped_check_says_what_it_could_not_delete(bucket: Bucket, cloud: S3) -> None:
    with pytest.raises(InterruptedExportError) as told:
        await stopped_check(bucket, cloud, may_delete=False)
    (left,) = bucket.sizes("")
    assert f"{bucket.url / left} may stay there" in str(told.value)


async def test_what_a_killed_check_has_left_is_in_nobodys_way(bucket: Bucket) -> None:
    now = wall_clock()
    fresh, old = trial_path(now), trial_path(now - 2 * HOUR)
    for path in (fresh, old):
        bucket.put(path, b"", "overwrite")
    assert {"destination", "write", "export"} <= set(by_grade(await checked(bucket.url), "ok"))
    assert set(bucket.sizes("")) == {fresh, old}  # a check takes nobody else's away
    await ObjectStore(bucket).prepare()
    assert fresh in bucket.sizes("")
    assert old not in bucket.sizes("")


async def test_a_bucket_that_another_run_holds(bucket: Bucket) -> None:
    bucket.put("_exporter/lock", encode_lease(new_lease("r7", "far-away", 0, 60.0)), "overwrite")
    result = await checked(bucket.url)
    assert "held by run r7" in by_grade(result, "wrong")["lock"]
    assert result.exit_status == 5
    assert [*bucket.sizes("")] == ["_exporter/lock"]


async def test_tls_that_is_not_trusted(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(lambda *_: [], context) as url:
        result = await checked(tmp_path / "out", url)
    assert "TLS certificate cannot be verified" in by_grade(result, "wrong")["connection"]
    assert {"api", "clock"} <= set(by_grade(result, "not tried"))
    assert result.exit_status == 1


async def test_a_proxy_that_refuses(tmp_path: Path) -> None:
    async with ForwardProxy(hosts={}, credentials="somebody:secret-word") as proxy:
        environment = {"https_proxy": f"http://somebody:wrong-word@{proxy.address}"}
        spec = ExportSpec(destination=tmp_path / "out", token=TOKEN, base_url="https://api.test", wait=1)
        result = await check(parse_location(str(tmp_path / "out")), prepare(spec, environment))
        address = proxy.address
    assert f"the proxy {address} wants other credentials" in by_grade(result, "wrong")["connection"]
    assert "https_proxy" in by_grade(result, "ok")["address"]
    assert "word" not in str(result.findings)


_CHECK = """
import sys
from exporter.cli import main
for disk in sys.argv[1:]:
    print(main(["check", f"{disk}/calls", "--wait", "1"]))
"""
_MOUNT = """
set -e
mount -t tmpfs -o size=64k tmpfs "$2"
head -c 65536 /dev/zero > "$2/filler"
mount -t tmpfs -o ro tmpfs "$3"
"$0" -c "$1" "$2" "$3"
ls -A "$2" "$3"
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts disks")
def test_disks_that_are_full_or_read_only(tmp_path: Path) -> None:
    full, frozen = tmp_path / "full", tmp_path / "frozen"
    full.mkdir()
    frozen.mkdir()
    known = {**os.environ, "ANYREACH_TOKEN": TOKEN, "ANYREACH_BASE_URL": ADDRESS}
    command = ("unshare", "--mount", "sh", "-c", _MOUNT, sys.executable, _CHECK, full, frozen)
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    on_full, on_frozen, left = re.split(r"^[12]$", done.stdout, flags=re.MULTILINE)
    assert "  wrong      write         " in on_full
    assert "the disk is full" in on_full
    assert "  wrong      space         " in on_full
    assert "the file system is read-only" in on_frozen
    assert "  not tried  write         " in on_frozen
    assert left.split() == [f"{frozen}:", f"{full}:", "filler"]
    assert re.findall(r"^\d$", done.stdout, re.MULTILINE) == ["1", "2"]
