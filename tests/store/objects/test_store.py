"""Tests what only object stores can do to a run: lost answers, conditions that are ignored, refusals, and leases."""

import errno
import fcntl
import os
import secrets
import ssl
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import obstore
import pytest
import trustme
from obstore.store import MemoryStore, S3Store

from exporter.coverage import Interval
from exporter.errors import (
    DestinationError,
    DestinationLockedError,
    ExporterError,
    OvertakenError,
    StoreError,
    WrongBucketError,
)
from exporter.layout import LOCK, RUNS, STAGING, commit_path
from exporter.log.commits import CommitLog, list_commits
from exporter.log.state import Author
from exporter.settings import Request
from exporter.store.local.scratch import Scratch
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.objects.errors import KeylessError, UnreachedError
from exporter.store.objects.lease import (
    LEASE_SECONDS,
    decode_lease,
    encode_lease,
    has_run_out,
    looks_abandoned,
    new_lease,
)
from exporter.store.objects.lock import RemoteLock
from exporter.store.objects.store import ObjectStore
from tests.toolkit.clouds import S3, Answer, AskedRequest, serving

pytestmark = pytest.mark.anyio

if TYPE_CHECKING:
    from obstore.store import BackoffConfig

Opening = Callable[..., ObjectStore]
MOMENT = timedelta(milliseconds=1)
BACKOFF: "BackoffConfig" = {"init_backoff": MOMENT, "max_backoff": MOMENT, "base": 2}
PART = "conversations/part-r-1.parquet"
LARGE = 6 * 1024 * 1024


@pytest.fixture
def cloud(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    yield s3
    s3.gate.loses, s3.gate.refuses, s3.gate.ignores_conditions = (lambda _: False), (lambda _: None), False
    s3.gate.answers = lambda _: None


@pytest.fixture
def bucket(cloud: S3) -> Bucket:
    name = f"objects-{secrets.token_hex(4)}"
    cloud.make_bucket(name)
    url = Url("s3", name, "pre")
    return Bucket(url, open_bucket(url))


@pytest.fixture
def opening() -> Iterator[Opening]:
    with ExitStack() as stack:

        def opened(bucket: Bucket, **options: Any) -> ObjectStore:
            store = ObjectStore(bucket, **options)
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def memory() -> Bucket:
    return Bucket(Url("s3", "memory"), MemoryStore())


def losing_once(*endings: str, method: str = "PUT") -> Callable[[AskedRequest], bool]:
    """Loses the first answer to each of these, although what was asked is done."""
    left = set(endings)

    def loses(asked: AskedRequest) -> bool:
        found = {ending for ending in left if asked.method == method and asked.path.endswith(ending)}
        left.difference_update(found)
        return bool(found)

    return loses


def answering(*answers: Answer, to: Callable[[AskedRequest], bool]) -> Callable[[AskedRequest], Answer | None]:
    """Answers requests like `to` with each of these once, in turn."""
    left = list(answers)
    return lambda asked: left.pop(0) if left and to(asked) else None


def always(
    answer: Answer, to: Callable[[AskedRequest], bool] = lambda _: True
) -> Callable[[AskedRequest], Answer | None]:
    return lambda asked: answer if to(asked) else None


def puts(ending: str) -> Callable[[AskedRequest], bool]:
    return lambda asked: asked.method == "PUT" and asked.path.endswith(ending)


def completes(asked: AskedRequest) -> bool:
    return asked.method == "POST" and asked.query.startswith("uploadId=")


def hasty(url: Url) -> Bucket:
    """Makes repeated requests follow at once, and fewer of them."""
    return Bucket(url, open_bucket(url, {"max_retries": 1, "backoff": BACKOFF}), (0.0,) * 3)


class Hasty:
    @pytest.fixture
    def bucket(self, bucket: Bucket) -> Bucket:
        return hasty(bucket.url)


class TestLostAnswers:
    async def test_a_commit_that_was_made_is_ours(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        cloud.gate.loses = losing_once(commit_path(1), commit_path(2))
        log = CommitLog(store, Author(run="r1", host="host", pid=1))
        await log.append(committed_at=1, kind="begin", request=Request(), range=Interval(0, 10))
        await log.append(committed_at=2, kind="resume")
        assert (await log.load()).number == 2
        assert not cloud.gate.loses(AskedRequest("PUT", commit_path(2), ""))

    async def test_a_commit_of_a_rival_is_not(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        log, rival = (CommitLog(store, Author(run=run, host="host", pid=1)) for run in ("r1", "r2"))
        await rival.append(committed_at=1, kind="begin", request=Request(), range=Interval(0, 10))
        cloud.gate.loses = losing_once(commit_path(1))
        with pytest.raises(OvertakenError):
            await log.append(committed_at=1, kind="begin", request=Request(), range=Interval(0, 10))

    async def test_the_lock_and_the_journal_know_themselves(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        for _ in range(2):
            cloud.gate.loses = losing_once(LOCK)
            await store.acquire_lock("r1")
            cloud.gate.loses = losing_once(LOCK)
            await store.release_lock()
        for line in (b"one\n", b"two\n"):
            cloud.gate.loses = losing_once(RUNS)
            await store.append(RUNS, line)
        assert await store.read(RUNS) == b"one\ntwo\n"


async def committed(store: ObjectStore) -> int:
    log = CommitLog(store, Author(run="r1", host="host", pid=1))
    await log.append(committed_at=1, kind="begin", request=Request(), range=Interval(0, 10))
    await log.append(committed_at=2, kind="resume")
    return (await log.load()).number


class TestWhatPasses(Hasty):
    """A write that is refused because of another at the same instant is tried again, and what is stored decides."""

    @pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted", ""])
    @pytest.mark.parametrize("is_done", [False, True])
    async def test_a_conflict_is_no_rival(
        self, code: str, is_done: bool, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        conflict = Answer(409, code, is_done)
        cloud.gate.answers = answering(conflict, conflict, to=puts(commit_path(2)))
        assert await committed(opening(bucket)) == 2

    @pytest.mark.parametrize("status", [0, 412, 500, 503])
    async def test_a_commit_that_was_made_though_refused_is_ours(
        self, status: int, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        cloud.gate.answers = answering(Answer(status, "Odd", is_done=True), to=puts(commit_path(2)))
        assert await committed(opening(bucket)) == 2

    async def test_a_conflict_that_lasts_is_said(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        cloud.gate.answers = always(Answer(409, "ConditionalRequestConflict"), puts(commit_path(2)))
        with pytest.raises(StoreError, match="nothing is there that they wrote") as raised:
            await committed(opening(bucket))
        assert type(raised.value) is StoreError

    @pytest.mark.parametrize("answer", [Answer(409, "OperationAborted"), Answer(400, "RequestTimeout"), Answer(0)])
    async def test_what_is_replaced_is_written(
        self, answer: Answer, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        store = opening(bucket)
        cloud.gate.answers = answering(answer, to=puts("_manifest.json"))
        await store.replace("_manifest.json", b"{}")
        assert await store.read("_manifest.json") == b"{}"

    async def test_the_lock_outlives_a_conflict(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store, conflict = opening(bucket), Answer(409, "ConditionalRequestConflict")
        for _ in range(2):
            cloud.gate.answers = answering(conflict, to=puts(LOCK))
            await store.acquire_lock("r1")
            cloud.gate.answers = answering(*[conflict] * 2, to=puts(LOCK))
            await anyio.to_thread.run_sync(store.lock.renew)
            assert not store.lock.is_lost
            await store.release_lock()

    async def test_a_lock_that_somebody_has_deleted_is_lost(self, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        await store.acquire_lock("r1")
        await store.delete(LOCK)
        await anyio.to_thread.run_sync(store.lock.renew)
        assert store.lock.is_lost

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_lists_and_deletions(self, method: str, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        await store.create("_SUCCESS", b"")
        lost, cut = Answer(400, "RequestTimeout", is_done=True), Answer(0, is_done=True)
        cloud.gate.answers = answering(lost, cut, to=lambda asked: asked.method == method)
        assert await store.list("") == ["_SUCCESS"]
        await store.delete("_SUCCESS")
        assert await store.list("") == []


class TestOffers(Hasty):
    @pytest.fixture
    async def offered(self, bucket: Bucket, opening: Opening) -> str:
        worker = opening(bucket)
        staged = worker.staging_file("r-t1-1")
        staged.write_bytes(b"whole")
        return await worker.offer(staged)

    @pytest.mark.parametrize(
        "answer", [Answer(200, "InternalError"), Answer(200, "AccessDenied"), Answer(200, "<CopyObjectResult/>")]
    )
    async def test_a_copy_that_was_not_made_is_no_copy(
        self, cloud: S3, bucket: Bucket, opening: Opening, offered: str, answer: Answer
    ) -> None:
        store = opening(bucket)
        cloud.gate.answers = always(answer, to=puts(PART))
        for step in (store.adopt, store.move):
            with pytest.raises(StoreError, match=r"part-r-1\.parquet: "):
                await step(offered, PART)
            assert await store.read(offered) == b"whole"
        cloud.gate.answers = lambda _: None
        await store.adopt(offered, PART)
        assert await store.read(PART) == b"whole"

    async def test_a_copy_whose_answer_was_lost_is_done(
        self, cloud: S3, bucket: Bucket, opening: Opening, offered: str
    ) -> None:
        store = opening(bucket)
        cloud.gate.loses = losing_once("part-r-1.parquet")
        await store.adopt(offered, PART)
        assert await store.read(PART) == b"whole"

    async def test_what_the_store_copies_later_is_waited_for(
        self, bucket: Bucket, opening: Opening, offered: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = iter([None, 0, 5])
        looked = bucket.size
        monkeypatch.setattr(bucket, "size", lambda path: next(sizes) if path == PART else looked(path))
        await opening(bucket).adopt(offered, PART)
        assert next(sizes, "none is left") == "none is left"

    async def test_what_is_too_large_to_copy_goes_through_this_machine(
        self, cloud: S3, bucket: Bucket, opening: Opening, offered: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.store.objects.transfers._COPIED_BYTES", 4)
        monkeypatch.setattr(obstore, "copy", lambda *_: pytest.fail("copied"))
        store = opening(bucket)
        await store.adopt(offered, PART)
        assert await store.read(PART) == b"whole"

    async def test_a_directory_that_a_console_has_made_is_nothing_to_sweep(
        self, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        store = opening(bucket)
        cloud.make_bucket(f"{bucket.url.bucket}/pre/_exporter/staging/")
        assert await store.list(STAGING) == []
        assert await store.list_all([STAGING]) == []

    async def test_what_is_staged_here_is_deleted_without_a_request(
        self, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        store = opening(bucket)
        store.staging_file("r-1").touch()
        cloud.gate.asked.clear()
        await store.delete(f"{STAGING}/r-1.partial")
        assert cloud.gate.asked == []
        assert not store.staging_file("r-1").exists()


class TestUploads(Hasty):
    async def publish(self, store: ObjectStore, size: int = LARGE) -> None:
        staged = store.staging_file("one")
        staged.write_bytes(bytes(size))
        await store.publish(staged, PART)
        assert not staged.exists()
        assert await store.sizes([PART]) == {PART: size}

    @pytest.mark.parametrize(
        "answers",
        [
            [Answer(503, "SlowDown", is_done=True)],
            [Answer(500, "InternalError", is_done=True), Answer(404, "NoSuchUpload")],
            [Answer(200, "InternalError", is_done=True), Answer(404, "NoSuchUpload")],
            [Answer(200, "InternalError")],
            [Answer(200, "AccessDenied", is_done=True)],
            [Answer(500, "InternalError", is_done=True), Answer(500, "InternalError")],
            [Answer(400, "RequestTimeout", is_done=True), Answer(404, "NoSuchUpload")],
            [Answer(404, "NoSuchUpload"), Answer(404, "NoSuchUpload")],
            [Answer(409, "OperationAborted")],
            [Answer(0, is_done=True), Answer(404, "NoSuchUpload")],
            [Answer(0)],
        ],
        ids=repr,
    )
    async def test_one_whose_last_answer_is_lost_is_looked_for(
        self, answers: list[Answer], cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        store = opening(hasty(bucket.url))
        cloud.gate.answers = answering(*answers, to=completes)
        await self.publish(store)

    async def test_one_that_is_dropped_each_time_is_said(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        cloud.gate.answers = always(Answer(404, "NoSuchUpload"), completes)
        with pytest.raises(StoreError, match=r"part-r-1\.parquet: it is no longer there \(404 NoSuchUpload\)"):
            await self.publish(opening(bucket))

    async def test_a_small_one(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        cloud.gate.answers = answering(Answer(400, "RequestTimeout", is_done=True), to=puts(PART))
        await self.publish(opening(bucket), size=10)


async def test_a_directory_that_a_console_has_made_is_empty(cloud: S3, bucket: Bucket, opening: Opening) -> None:
    # The object that stands for it is put as a bucket is.
    cloud.make_bucket(f"{bucket.url.bucket}/{bucket.url.prefix}/")
    await opening(bucket).prepare()


async def take(store: ObjectStore) -> None:
    """Takes the lock as a run does, and gives it back."""
    await store.prepare()
    await store.acquire_lock("earlier")
    await store.release_lock()


class TestConditions:
    @pytest.mark.parametrize("used", [False, True])
    async def test_a_store_that_ignores_them_is_refused(
        self, used: bool, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        store = opening(bucket)
        if used:
            await take(store)
        cloud.gate.ignores_conditions = True
        with pytest.raises(DestinationError, match="ignores If-None-Match or If-Match"):
            await store.prepare()
        cloud.gate.ignores_conditions = False
        await take(store)

    async def test_the_claim_itself_is_the_trial(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        await take(store)
        cloud.gate.asked.clear()
        await take(store)
        assert [one.method for one in cloud.gate.asked if one.path.endswith("/lock")] == [
            "GET",
            "PUT",
            "PUT",
            "PUT",
            "PUT",
        ]

    async def test_a_lock_that_is_taken_during_the_trial_stays_its_taker_s(
        self, bucket: Bucket, opening: Opening
    ) -> None:
        first, second = opening(bucket), opening(bucket)
        await take(first)
        await first.prepare()
        await second.prepare()
        await second.acquire_lock("second")
        with pytest.raises(DestinationLockedError, match="second"):
            await first.acquire_lock("first")
        await second.release_lock()

    @pytest.mark.parametrize("used", [False, True])
    async def test_one_that_says_they_are_not_met_and_writes_all_the_same_is_refused(
        self, used: bool, memory: Bucket, opening: Opening, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if used:
            await take(opening(memory))
        put = memory.put

        def put_and_deny(path: str, data: bytes, mode: Any) -> Any:
            written = put(path, data, "overwrite")
            return written if mode == "overwrite" else None

        monkeypatch.setattr(memory, "put", put_and_deny)
        store = opening(memory)
        with pytest.raises(DestinationError, match="ignores"):
            await store.prepare()
            await store.acquire_lock("this")

    @pytest.mark.parametrize("used", [False, True])
    async def test_one_that_heeds_absence_alone_is_refused(
        self, used: bool, memory: Bucket, opening: Opening, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if used:
            await take(opening(memory))
        put = memory.put
        monkeypatch.setattr(
            memory, "put", lambda path, data, mode: put(path, data, mode if mode == "create" else "overwrite")
        )
        with pytest.raises(DestinationError, match="ignores"):
            await opening(memory).prepare()

    @pytest.mark.parametrize(
        "answer",
        [Answer(501, "NotImplemented"), Answer(400, "InvalidArgument"), Answer(405), Answer(403, "AccessDenied")],
        ids=repr,
    )
    @pytest.mark.parametrize("used", [False, True])
    async def test_a_store_that_refuses_them_is_refused(
        self, answer: Answer, used: bool, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        store = opening(hasty(bucket.url))
        if used:
            await take(store)
        cloud.gate.answers = always(answer, lambda asked: asked.has_condition)
        said = f"{answer.status} {answer.code}".strip()
        with pytest.raises(DestinationError, match=rf"refuses writes with If-None-Match or If-Match \({said}\)"):
            await store.prepare()

    async def test_one_that_says_they_are_never_met_is_refused(
        self, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        cloud.gate.answers = always(Answer(412, "PreconditionFailed"), lambda asked: asked.has_condition)
        with pytest.raises(DestinationError, match="refuses writes with If-None-Match or If-Match"):
            await opening(hasty(bucket.url)).prepare()

    async def test_one_that_refuses_every_write_says_so(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        cloud.gate.answers = always(Answer(405, "MethodNotAllowed"), lambda asked: asked.method == "PUT")
        with pytest.raises(DestinationError, match="does not support what is asked") as raised:
            await opening(bucket).prepare()
        assert "If-None-Match" not in str(raised.value)

    @pytest.mark.parametrize("answer", [Answer(200, "<html>Log in</html>"), Answer(200)], ids=repr)
    async def test_what_is_no_store_is_refused(
        self, answer: Answer, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        cloud.gate.answers = always(answer)
        with pytest.raises(DestinationError, match="what stands before it, such as a proxy or a login page"):
            await opening(bucket).prepare()


class TestRefusals:
    async def says(self, error: type[ExporterError], work: Callable[[], Awaitable[object]], *words: str) -> None:
        with pytest.raises(error) as raised:
            await work()
        assert type(raised.value) is error
        for word in words:
            assert word in str(raised.value)
        for secret in ("AKIAFORTESTS", "not-a-secret", "Signature=", "Debug", "<"):
            assert secret not in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1

    async def test_a_bucket_that_is_not_there(self, cloud: S3, opening: Opening) -> None:
        url = Url("s3", "no-such-bucket", "x")
        store = opening(Bucket(url, open_bucket(url)))
        words = "s3://no-such-bucket: there is no such bucket or container (404 NoSuchBucket)"
        await self.says(DestinationError, store.check, words)
        await self.says(DestinationError, store.prepare, words)
        await self.says(WrongBucketError, lambda: store.list("conversations"), words)
        await self.says(WrongBucketError, lambda: store.replace("_SUCCESS", b""), words)
        assert WrongBucketError.exit_status == DestinationError.exit_status

    async def test_a_bucket_that_goes_away_holds_not_merely_nothing(
        self, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        cloud.gate.answers = always(Answer(404, "NoSuchBucket"))
        store = opening(bucket)
        await self.says(WrongBucketError, lambda: store.read("_manifest.json"), "there is no such bucket")

    @pytest.mark.parametrize(
        ("status", "code", "words"),
        [
            (403, "AccessDenied", "access denied"),
            (403, "RequestTimeTooSkewed", "this machine's clock differs too much from the store's"),
            (400, "ExpiredToken", "the credentials have expired"),
            (403, "QuotaExceeded", "its quota is used up"),
            (507, "XMinioStorageFull", "the store is full"),
            (403, "AccountProblem", "the account, or the bucket, is disabled or not paid for"),
            (403, "AllAccessDisabled", "the account, or the bucket, is disabled or not paid for"),
            (403, "AccountIsDisabled", "the account, or the bucket, is disabled or not paid for"),
            (403, "InvalidAccessKeyId", "the store does not know these credentials"),
            (403, "SignatureDoesNotMatch", "the store does not accept the signature"),
            (403, "AuthenticationFailed", "the store does not accept the signature"),
            (403, "AuthorizationPermissionMismatch", "the credentials are valid, but lack a permission"),
            (403, "AuthorizationFailure", "firewall"),
            (409, "KeyBasedAuthenticationNotPermitted", "no credentials of this kind"),
            (400, "KMS.DisabledException", "the key that encrypts this bucket cannot be used"),
            (403, "InvalidObjectState", "it lies in an archive"),
            (400, "UserProjectMissing", "GOOGLE_CLOUD_QUOTA_PROJECT"),
            (412, "LeaseIdMissing", "a lease or a retention rule"),
            (400, "IllegalLocationConstraintException", "the bucket lies elsewhere"),
            (400, "Unheard.Of-Code", "the store refuses what is asked"),
        ],
    )
    async def test_each_is_called_what_it_is(
        self, status: int, code: str, words: str, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        cloud.gate.answers = always(Answer(status, code))
        store, said = opening(hasty(bucket.url)), f"({status} {code})"
        where = f"s3://{bucket.url.bucket}"
        if "elsewhere" in words:
            await self.says(DestinationError, store.check, where, words)
            await self.says(WrongBucketError, lambda: store.replace("_SUCCESS", b""), f"{where}: {words}")
        else:
            await self.says(DestinationError, store.check, str(bucket.url), words, said)
            await self.says(StoreError, lambda: store.replace("_SUCCESS", b""), "_SUCCESS: ", words, said)

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(400, "AuthorizationHeaderMalformed", inside="<Region>eu-west-3</Region>"),
            Answer(301, "PermanentRedirect", headers=(("x-amz-bucket-region", "eu-west-3"),)),
        ],
        ids=repr,
    )
    async def test_the_region_of_a_bucket_is_named(
        self, answer: Answer, cloud: S3, bucket: Bucket, opening: Opening
    ) -> None:
        cloud.gate.answers = always(answer)
        words = ("the bucket lies in the region eu-west-3", "AWS_REGION=eu-west-3")
        await self.says(DestinationError, opening(bucket).check, f"s3://{bucket.url.bucket}: ", *words)

    async def test_a_deletion_that_is_refused_for_some(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        inside = "<Error><Key>pre/_SUCCESS</Key><Code>AccessDenied</Code><Message>not-a-secret</Message></Error>"
        cloud.gate.answers = always(Answer(200, f"<?xml version='1.0'?><DeleteResult>{inside}</DeleteResult>"))
        await self.says(StoreError, lambda: opening(bucket).delete("_SUCCESS"), "access denied (AccessDenied)")

    @pytest.mark.parametrize(("failure", "error"), [(KeylessError, DestinationError), (UnreachedError, StoreError)])
    async def test_a_source_of_credentials_that_fails_says_why(
        self, failure: type[Exception], error: type[ExporterError], bucket: Bucket, opening: Opening
    ) -> None:
        def fail() -> Any:
            raise failure("the session has expired. Log in")

        store = opening(Bucket(bucket.url, S3Store("bucket", credential_provider=fail)))
        await self.says(error, store.check, "no credentials found: the session has expired. Log in")

    async def test_a_certificate_that_nobody_vouches_for(self, opening: Opening, bucket: Bucket) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with serving(lambda *_: [], context) as url:
            found = S3Store(
                "bucket",
                aws_endpoint_url_s3=url,
                access_key_id="AKIAFORTESTS",
                secret_access_key="not-a-secret",
                retry_config={"max_retries": 0},
            )
            await self.says(DestinationError, opening(Bucket(bucket.url, found)).check, "certificate is not trusted")

    async def test_no_permission(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        store = opening(bucket)
        cloud.gate.refuses = lambda _: 403
        await self.says(DestinationError, store.check, str(bucket.url), "access denied (403", "help object-stores")
        await self.says(StoreError, lambda: store.create("_SUCCESS", b""), "_SUCCESS: access denied")

    async def test_another_region(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        cloud.gate.refuses = lambda _: 301
        await self.says(DestinationError, opening(bucket).check, "the bucket lies elsewhere", "AWS_REGION")

    async def test_a_store_that_fails_for_good(
        self, cloud: S3, bucket: Bucket, opening: Opening, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[AskedRequest] = []

        def refuse(one: AskedRequest) -> int:
            asked.append(one)
            return 500

        cloud.gate.refuses = refuse
        store = opening(Bucket(bucket.url, open_bucket(bucket.url, {"max_retries": 2})))
        await self.says(StoreError, store.check, "the store keeps answering 500 SlowDown", "resume")
        assert len(asked) == 3

    async def test_nobody_there(self, opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = "BlobEndpoint=http://127.0.0.1:9/account;AccountKey=bm90aGluZw=="
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        store = opening(hasty(Url("az", "container")))
        await self.says(
            StoreError,
            store.check,
            "az://container",
            "no answer from the store (the connection is refused)",
            "run again to resume",
        )

    async def test_a_fault_that_passes_is_not_seen(self, cloud: S3, bucket: Bucket, opening: Opening) -> None:
        failing = iter([503, 500])
        cloud.gate.refuses = lambda _: next(failing, None)
        assert await opening(bucket).list("conversations") == []
        assert next(failing, None) is None


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestLease:
    async def test_one_that_has_run_out_is_taken_over(
        self, memory: Bucket, opening: Opening, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asleep, awake = opening(memory), opening(memory)
        await asleep.prepare()
        await asleep.acquire_lock("asleep")
        with pytest.raises(DestinationLockedError, match=r"its hold ends \d\d s from now"):
            await awake.acquire_lock("awake")
        now = RemoteLock.now
        monkeypatch.setattr(RemoteLock, "now", lambda lock: now(lock) + LEASE_SECONDS + 4)
        await awake.acquire_lock("awake")
        monkeypatch.undo()
        holder = await asleep.lock_holder()
        assert holder is not None
        assert holder.run == "awake"
        # It wakes up, and neither takes its lock back, nor the other's away, nor writes to the log.
        await anyio.to_thread.run_sync(asleep.lock.renew)
        assert asleep.lock.is_lost
        with pytest.raises(OvertakenError):
            await asleep.create(commit_path(1), b"")
        await asleep.release_lock()
        assert await asleep.lock_holder() == holder
        await awake.create(commit_path(1), b"")

    async def test_it_is_renewed_while_it_is_kept(self, memory: Bucket, opening: Opening) -> None:
        store = opening(memory, lease_seconds=0.04)
        await store.acquire_lock("r1")

        async def renewals() -> int:
            found = decode_lease(await store.read(LOCK) or b"")
            assert found is not None
            return found.renewals

        async with anyio.create_task_group() as group:
            group.start_soon(store.keep_lock)
            with anyio.fail_after(10):
                while await renewals() < 3:
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        await store.release_lock()
        assert await store.lock_holder() is None

    async def test_a_renewal_that_fails_is_tried_again(
        self, memory: Bucket, opening: Opening, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = opening(memory, lease_seconds=0.04)
        await store.acquire_lock("r1")
        renew, calls, renewed = store.lock.renew, list[int](), anyio.Event()

        def failing() -> None:
            calls.append(1)
            if len(calls) < 3:
                raise StoreError("away")
            renew()
            anyio.from_thread.run_sync(renewed.set)

        monkeypatch.setattr(store.lock, "renew", failing)
        async with anyio.create_task_group() as group:
            group.start_soon(store.keep_lock)
            with anyio.fail_after(10):
                await renewed.wait()
            group.cancel_scope.cancel()
        assert not store.lock.is_lost

    async def test_what_was_renewed_meanwhile_is_not_taken_over(
        self, memory: Bucket, opening: Opening, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        holder, other = opening(memory), opening(memory)
        await holder.acquire_lock("holder")

        def renewing(lock: RemoteLock) -> float:
            holder.lock.renew()
            return 1e12

        monkeypatch.setattr(RemoteLock, "now", renewing)
        with pytest.raises(DestinationLockedError, match="several runs"):
            await other.acquire_lock("other")
        await anyio.to_thread.run_sync(holder.lock.renew)
        assert not holder.lock.is_lost

    async def test_a_process_of_this_machine_that_is_gone_holds_nothing(self, memory: Bucket, opening: Opening) -> None:
        here = new_lease("killed", "host", 0, LEASE_SECONDS)
        if not here.machine:
            pytest.skip("this system does not tell its boots apart")
        memory.put(LOCK, encode_lease(msgspec.structs.replace(here, pid=dead_process())), "create")
        store = opening(memory)
        assert await store.lock_holder() is None
        await store.acquire_lock("next")

    def test_whose_it_is(self) -> None:
        here = new_lease("r", "host", 0, 60.0)
        assert here.pid == os.getpid()
        gone = msgspec.structs.replace(here, pid=dead_process())
        elsewhere = msgspec.structs.replace(gone, machine="another")
        unknown = msgspec.structs.replace(gone, machine="")
        for lease, at_once in ((here, False), (gone, bool(here.machine)), (elsewhere, False), (unknown, False)):
            assert has_run_out(lease, 0.0) == at_once
            assert has_run_out(lease, 62.0) == at_once
            assert has_run_out(lease, 64.0)
            assert looks_abandoned(lease, 64.0) == at_once
            assert looks_abandoned(lease, 301.0)
        assert decode_lease(encode_lease(here)) == here
        assert (decode_lease(b""), decode_lease(b"{}"), decode_lease(b"\xff")) == (None, None, None)


class TestScratch:
    def test_what_a_killed_process_has_left_is_swept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code = (
            "from exporter.store.local.scratch import Scratch\n"
            "Scratch().staged('x').write_bytes(b'x')\n"
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        )
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=False)
        (left,) = tmp_path.iterdir()
        assert (left / "staged" / "x").exists()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        (tmp_path / "exporter-staging-file").touch()
        living, mine = Scratch(), Scratch()
        at_work = living.staged("y")
        at_work.touch()
        assert mine.staged("z").parent.is_dir()
        assert not left.exists()
        assert at_work.exists()
        assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_dir()} == {0o700}
        living.close()
        mine.close()
        mine.close()
        assert [path.name for path in tmp_path.iterdir()] == ["exporter-staging-file"]

    @pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK])
    def test_a_disk_that_locks_no_directory_or_nothing_holds_one(
        self, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = fcntl.flock

        def lock(descriptor: int, kind: int) -> None:
            if number != errno.EBADF or fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(number, os.strerror(number))
            real(descriptor, kind)

        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(fcntl, "flock", lock)
        one, other = Scratch(), Scratch()
        staged = one.staged("x")
        staged.touch()
        assert other.staged("y").parent.is_dir()
        assert staged.exists()
        one.close()
        other.close()
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_made_before_it_is_needed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        scratch = Scratch()
        assert scratch.names() == []
        scratch.close()
        assert list(tmp_path.iterdir()) == []


async def test_an_upload_that_is_cancelled_is_taken_back(cloud: S3, bucket: Bucket, opening: Opening) -> None:
    store = opening(bucket)
    staged = store.staging_file("one")
    staged.write_bytes(bytes(60 * 1024 * 1024))
    loop, taken_back, cancelled = anyio.from_thread, threading.Event(), threading.Event()

    with anyio.CancelScope() as scope:
        token = anyio.lowlevel.current_token()

        def refuse(asked: AskedRequest) -> None:
            if asked.method == "PUT" and not cancelled.is_set():
                loop.run_sync(scope.cancel, token=token)
                cancelled.set()
            if asked.method == "DELETE":
                taken_back.set()

        cloud.gate.refuses = refuse
        await store.publish(staged, "conversations/part-r-1.parquet")
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(taken_back.wait, 20)
    assert await store.list("conversations") == []


async def test_a_list_begins_where_it_is_asked_to_whatever_the_server_makes_of_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, asked, listed = Url("s3", "memory", "pre"), list[str | None](), obstore.list
    store = ObjectStore(Bucket(url, MemoryStore()))
    for number in (1, 2, 3):
        await store.create(commit_path(number), b"{}")

    def ignoring(place: MemoryStore, where: str | None, offset: str | None = None) -> Any:
        asked.append(offset)
        return listed(place, where)

    monkeypatch.setattr(obstore, "list", ignoring)
    assert await list_commits(store, 2) == [3]
    assert asked == [f"pre/{commit_path(2)}"]
