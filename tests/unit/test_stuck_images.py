"""Images that are given up until somebody looks: one entry each, with a cause and a remedy that fit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.stuck import stuck_key
from batch_vision.images.analysis import analyze
from batch_vision.images.final import FinalBucket
from batch_vision.images.pace import Pace
from batch_vision.images.source import SourceBucket
from tests.unit.conftest import detectors_of
from tests.unit.test_analysis import World

Put = Callable[..., SourceImage]


@pytest.fixture
def world(s3: Any, source: SourceBucket, final: FinalBucket) -> World:
    return World(s3, source, final)


def refusal(code: str, http_status: int, message: str = "") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": http_status}}
    return ClientError(response, "GetObject")


def fail(error: Exception) -> Callable[..., Any]:
    def call(**_: Any) -> Any:
        raise error

    return call


# As S3 words it: https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html and
# https://repost.aws/knowledge-center/s3-large-file-encryption-kms-key
SSE_C = (
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve"
    " the object."
)
KMS = (
    "User: arn:aws:sts::1:assumed-role/r/f is not authorized to perform: kms:Decrypt on the resource associated with"
    " this ciphertext because the resource does not exist in this Region, no resource-based policies allow access"
)
READ_REFUSALS = [
    pytest.param(refusal("InvalidRequest", 400, SSE_C), errors.ImageEncryptedError, id="SSE-C"),
    pytest.param(refusal("AccessDenied", 403, KMS), errors.ImageKeyDeniedError, id="KMS key of others"),
    pytest.param(refusal("KMS.DisabledException", 400), errors.ImageKeyDeniedError, id="KMS key disabled"),
    pytest.param(refusal("InvalidObjectState", 403), errors.ImageArchivedError, id="archived"),
]


@pytest.mark.parametrize(("refused", "error"), READ_REFUSALS)
@pytest.mark.parametrize("head_says", [200, 400])
def test_what_nobody_can_read_is_stuck_at_once_with_its_own_reason(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch, refused: ClientError, error: type[Any], head_says: int
) -> None:
    """Whether HEAD says so, which has no reason with it, or the service that was to read it."""
    image = upload("a.jpg")
    world.backend.detections = [errors.ImageUnreadableError("Unable to get object metadata from S3.")]
    monkeypatch.setattr(world.source._s3, "get_object", _but_for("source", world.s3.get_object, fail(refused)))
    if head_says == 400:
        monkeypatch.setattr(
            world.s3, "head_object", _but_for("source", world.s3.head_object, fail(refusal("400", 400)))
        )
    outcome = world.analyze(image)
    assert (outcome.status, outcome.error_type) == ("stuck", error.__name__)
    (entry,) = world.stuck()
    assert entry["source"]["version_id"] == image.version_id
    assert (entry["error"]["type"], entry["remedy"]) == (error.__name__, error.remedy)
    assert error.remedy != errors.StorageRefusedError.remedy
    assert world.keys("final") == [stuck_key("a.jpg", str(image.version_id))]
    assert world.keys("source") == ["a.jpg"]
    asked = len(world.backend.calls)
    assert asked <= (1 if head_says == 200 else 0)
    for again in (True, False):
        assert world.analyze(image, again=again).status == "stuck"
    assert len(world.backend.calls) == asked + (head_says == 200), "a redelivery asks nothing"
    assert world.versions("final") == 1, "and writes nothing"


def _but_for(bucket: str, real: Any, other: Any) -> Any:
    return lambda **request: other(**request) if request["Bucket"] == bucket else real(**request)


def hold(s3: Any, image: SourceImage, status: str) -> None:
    s3.put_object_legal_hold(
        Bucket=image.bucket, Key=image.key, VersionId=image.version_id, LegalHold={"Status": status}
    )


@pytest.fixture
def lockable(s3: Any) -> Callable[[str], SourceImage]:
    s3.create_bucket(Bucket="locking", ObjectLockEnabledForBucket=True)

    def put(key: str) -> SourceImage:
        version = s3.put_object(Bucket="locking", Key=key, Body=b"pixels")["VersionId"]
        return SourceImage("locking", key, version, "", 6, datetime.now(UTC))

    return put


def test_a_legal_hold_that_s3_tells_of_is_seen_before_the_model_is_asked(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload("a.jpg")
    head = world.s3.head_object

    for held in (
        {"ObjectLockLegalHoldStatus": "ON"},
        {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime(2999, 1, 1, tzinfo=UTC)},
    ):
        monkeypatch.setattr(world.s3, "head_object", lambda held=held, **request: head(**request) | held)
        assert world.analyze(image).error_type == "ImageLockedError"
    assert world.backend.calls == []
    assert [entry["remedy"] for entry in world.stuck()] == [errors.ImageLockedError.remedy]
    assert world.versions("final") == 1
    over = {"ObjectLockLegalHoldStatus": "OFF", "ObjectLockRetainUntilDate": datetime(2020, 1, 1, tzinfo=UTC)}
    monkeypatch.setattr(world.s3, "head_object", lambda **request: head(**request) | over)
    assert world.analyze(image).status == "processed"


def test_a_version_that_cannot_be_deleted_keeps_its_place_and_nothing_is_written_twice(
    world: World, lockable: Callable[[str], SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result and its copy are taken back: it is in the source bucket, and nowhere else."""
    image = lockable("held.jpg")
    hold(world.s3, image, "ON")
    head = world.s3.head_object
    # A role that may not see legal holds.
    monkeypatch.setattr(
        world.s3, "head_object", lambda **request: head(**request) | {"ObjectLockLegalHoldStatus": None}
    )
    assert world.analyze(image).error_type == "ImageLockedError"
    assert world.keys("final") == [stuck_key("held.jpg", str(image.version_id))]
    assert world.versions("final") == 1
    asked = len(world.backend.calls)
    assert world.analyze(image, again=True).status == "stuck"
    assert (len(world.backend.calls), world.versions("final")) == (asked, 1)

    # `retry`, after the hold was taken off.
    hold(world.s3, image, "OFF")
    world.s3.delete_object(Bucket="final", Key=stuck_key("held.jpg", str(image.version_id)))
    assert world.analyze(image).status == "processed"
    assert world.keys("final") == ["processed/held.jpg", "processed/held.jpg.json"]


def test_what_an_older_upload_had_there_is_current_again(
    world: World, lockable: Callable[[str], SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = world.analyze(lockable("held.jpg")).result
    time.sleep(1.1)
    image = lockable("held.jpg")
    with monkeypatch.context() as held:
        held.setattr(
            world.s3, "delete_object", _but_for("locking", world.s3.delete_object, fail(refusal("AccessDenied", 403)))
        )
        assert world.analyze(image).status == "stuck"
    assert world.result("processed/held.jpg.json") == older
    assert len(world.s3.list_object_versions(Bucket="final", Prefix="processed/")["Versions"]) == 2


def test_what_s3_refuses_for_good_when_it_is_filed_leaves_no_result(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.s3, "copy_object", fail(refusal("InvalidRequest", 400, "no such key may be")))
    for key in ("a.jpg", "a.jpg.json"):
        image = upload(key)
        assert world.analyze(image).error_type == "StorageRefusedError"
        assert stuck_key(key, str(image.version_id)) in world.keys("final")
    assert world.versions("final") == 2
    assert world.keys("source") == ["a.jpg", "a.jpg.json"]


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestTimeout", "KMS.ThrottlingException"])
def test_a_refusal_that_passes_is_left_for_redelivery(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(world.s3, "copy_object", fail(refusal(code, 400)))
    with pytest.raises(errors.ServiceUnavailableError):
        world.analyze(upload("a.jpg"))


@pytest.mark.parametrize("error", [errors.AccessDeniedError("no"), errors.ImageUnreadableError("no"), KeyError("bug")])
def test_at_its_last_delivery_whatever_it_failed_of_is_written_down(
    world: World, upload: Put, error: Exception
) -> None:
    world.backend.detections = [error]
    image = upload("a.jpg")
    with pytest.raises(type(error)):
        world.analyze(image, again=True)
    assert world.stuck() == []
    assert world.analyze(image, last=True).status == "stuck"
    (entry,) = world.stuck()
    assert entry["error"] == {"type": type(error).__name__, "message": str(error)}
    assert entry["remedy"]
    assert json.dumps(entry)


def test_a_model_that_is_not_running_gives_no_image_up(world: World, upload: Put) -> None:
    world.backend.detections = [errors.ModelNotReadyError("off")]
    with pytest.raises(errors.ModelNotReadyError):
        world.analyze(upload("a.jpg"), last=True)
    assert world.keys("final") == []


def test_an_image_that_is_gone_meanwhile_is_not_given_up(world: World, upload: Put) -> None:
    image = upload("a.jpg")

    def answer(_: Any) -> Any:
        world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=image.version_id)
        raise errors.AccessDeniedError("no")

    world.backend.detections = [answer]
    assert world.analyze(image, last=True).status == "gone"
    assert world.keys("final") == []


# Throttled until the time is over


class CountedPace(Pace):
    asked = 0

    def wait(self, deadline: float) -> None:
        CountedPace.asked += 1
        super().wait(deadline)


def test_throttled_images_do_not_spin_for_a_turn_that_comes_too_late(world: World, upload: Put) -> None:
    """Ten images side by side: each asks for one more turn than it has calls, and not for thousands."""
    CountedPace.asked = 0
    world.backend.detections = [errors.ThrottledError("too many")]
    images = [upload(f"{number}.jpg") for number in range(10)]
    deadline = time.monotonic() + 2
    detectors = detectors_of(world.backend, CountedPace(0.3, 6, credit_seconds=0.5))
    detectors.begin_batch(11, deadline)

    def take(image: SourceImage) -> BaseException | None:
        try:
            analyze(image, detectors, world.source, world.final, is_redelivery=False, deadline=deadline)
        except errors.TransientError as error:
            return error
        return None

    with ThreadPoolExecutor(10) as pool:
        left = list(pool.map(take, images))
    assert all(isinstance(error, errors.NoTimeLeftError | errors.ThrottledError) for error in left), left
    assert CountedPace.asked < 2 * len(world.backend.calls) + 2, len(world.backend.calls)
    assert len(world.backend.calls) >= 10


def test_a_throttled_image_without_another_turn_is_left_at_once_and_names_the_throttle(
    world: World, upload: Put
) -> None:
    world.backend.detections = [errors.ThrottledError("too many")]
    deadline = time.monotonic() + 20
    detectors = detectors_of(world.backend, Pace(0.03, 0.24))
    with pytest.raises(errors.NoTimeLeftError) as raised:
        analyze(upload("a.jpg"), detectors, world.source, world.final, is_redelivery=False, deadline=deadline)
    assert time.monotonic() < deadline
    assert isinstance(raised.value.__cause__, errors.ThrottledError)
    assert len(world.backend.calls) == 1


def test_an_image_given_up_for_want_of_time_names_the_throttle(world: World, upload: Put) -> None:
    world.backend.detections = [errors.ThrottledError("too many")]
    image = upload("a.jpg")
    outcome = analyze(
        image,
        detectors_of(world.backend, Pace(0.1, 0.8)),
        world.source,
        world.final,
        is_redelivery=True,
        deadline=time.monotonic() + 5,
        is_last_delivery=True,
    )
    assert outcome.error_type == "ThrottledError"
    assert world.stuck()[0]["remedy"] == errors.ThrottledError.remedy
