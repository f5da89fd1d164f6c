"""End to end: images of every kind, under every name and at every moment, a faulty service and Lambdas that die."""

from __future__ import annotations

import io
import json
import re
import struct
import unicodedata
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from tests.local.failed_runs import OVERHEAD_SECONDS
from tests.local.stack import Stack, Upload
from tests.local.test_stack import picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1200)]

BACKEND = "rekognition_custom_labels"
ANALYZE = "analyze-images"
MIB_BYTES = 1024**2

# The shortest timeouts that leave room for one image, so that a message that failed comes back after 12 seconds. One
# image for each invocation, so that a Lambda that dies takes no other image with it.
SHORT = {"analyze_timeout_seconds": 2, "batch_size": 1}
# All deliveries of a message, each hidden for six times analyze_timeout_seconds; max_receive_count is 5.
DELIVERIES_SECONDS = 5 * 12
# After each death the one poller waits for the next process, which on a busy laptop takes so long.
COLD_START_SECONDS = 5


def wait_for_events(stack: Stack, count: int) -> None:
    wait_until(lambda: stack.messages()[""] >= count)


# Images of every kind -----------------------------------------------------------------------------------------------


def encoded(width: int = 100, height: int = 100, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width, height), 128).save(content, kind, **options)
    return content.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def padded_jpeg(size_bytes: int) -> bytes:
    """A JPEG with bytes after its end, which decoders ignore."""
    content = picture(3, "JPEG")
    return content + bytes(size_bytes - len(content))


def padded_png(size_bytes: int) -> bytes:
    """A PNG with a chunk that no decoder knows, and that says itself that it may be ignored."""
    content, end = picture(4)[:-12], picture(4)[-12:]
    return content + chunk(b"paDd", bytes(size_bytes - len(content) - len(end) - 12)) + end


def animated() -> bytes:
    frames = [Image.new("RGB", (100, 100), colour) for colour in ("red", "green", "blue")]
    content = io.BytesIO()
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:])
    return content.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says that it is enormous."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def inflating() -> bytes:
    """A PNG of 97 KiB, whose pixels go on for 100 MiB after the last one."""
    header = struct.pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100 * MIB_BYTES), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


PROCESSED = None
FORMAT = "InvalidImageFormatError"
TOO_LARGE = "ImageTooLargeError"
INVALID = "InvalidImageError"


def images() -> dict[str, tuple[bytes, str | None]]:
    """What is uploaded, and why it is rejected.

    What Rekognition does with an animated, CMYK or 16-bit image, and with bytes after the end of one, is not
    documented: which of these are accepted is the emulator's choice. What is held here is that each has an end.
    """
    return {
        "empty.png": (b"", FORMAT),
        "truncated.png": (picture(1)[:2000], FORMAT),
        "truncated.jpg": (picture(1, "JPEG")[:2000], FORMAT),
        "truncated in the header.png": (picture(1)[:20], FORMAT),
        "a PNG called.jpg": (picture(2), PROCESSED),
        "a JPEG called.png": (picture(2, "JPEG"), PROCESSED),
        "a JPEG called.txt": (picture(5, "JPEG"), PROCESSED),
        "a JPEG without a suffix": (picture(6, "JPEG"), PROCESSED),
        "text called.png": (b"This is no picture.", FORMAT),
        "text called.jpg": (b"This is no picture.", FORMAT),
        "a GIF called.png": (encoded(kind="GIF"), FORMAT),
        "15 MiB.jpg": (padded_jpeg(15 * MIB_BYTES), PROCESSED),
        "15 MiB and a byte.jpg": (padded_jpeg(15 * MIB_BYTES + 1), TOO_LARGE),
        "15 MiB.png": (padded_png(15 * MIB_BYTES), PROCESSED),
        "15 MiB and a byte.png": (padded_png(15 * MIB_BYTES + 1), TOO_LARGE),
        "64x64.png": (encoded(64, 64), PROCESSED),
        "63x64.png": (encoded(63, 64), INVALID),
        "64x63.jpg": (encoded(64, 63, "JPEG"), INVALID),
        "1x1.png": (encoded(1, 1), INVALID),
        "4096x4096.png": (encoded(4096, 4096), PROCESSED),
        "4096x205.jpg": (encoded(4096, 205, "JPEG"), PROCESSED),
        "4097x300.png": (encoded(4097, 300), TOO_LARGE),
        "300x4097.jpg": (encoded(300, 4097, "JPEG"), TOO_LARGE),
        "1280x64.png": (encoded(1280, 64), PROCESSED),
        "1281x64.png": (encoded(1281, 64), INVALID),
        "64x1280.jpg": (encoded(64, 1280, "JPEG"), PROCESSED),
        "64x1281.jpg": (encoded(64, 1281, "JPEG"), INVALID),
        "x.gif": (encoded(kind="GIF"), FORMAT),
        "x.tiff": (encoded(kind="TIFF"), FORMAT),
        "x.webp": (encoded(kind="WEBP"), FORMAT),
        "x.bmp": (encoded(kind="BMP"), FORMAT),
        "animated.png": (animated(), PROCESSED),
        "cmyk.jpg": (encoded(kind="JPEG", mode="CMYK"), FORMAT),
        "16-bit.png": (encoded(mode="I;16"), FORMAT),
        "bomb.png": (bomb(30_000), TOO_LARGE),
        "largest bomb.png": (bomb(2**31 - 1), TOO_LARGE),
        "inflating.png": (inflating(), PROCESSED),
    }


@pytest.mark.fault("Images: empty")
@pytest.mark.fault("Images: truncated")
@pytest.mark.fault("Images: right bytes with the wrong suffix and the reverse")
@pytest.mark.fault("Images: just inside and just outside every limit of size, side and aspect")
@pytest.mark.fault("Images: GIF, TIFF, WebP, animated PNG, CMYK and 16-bit")
@pytest.mark.fault("Images: a decompression bomb")
def test_images_of_every_kind_end_processed_or_rejected_with_their_reason(stack: Stack) -> None:
    expected = images()
    for key, (content, _) in expected.items():
        stack.upload(key, content)
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    found = {key: result["error"] and result["error"]["type"] for (key, _), (result,) in stack.results().items()}
    assert found == {key: reason for key, (_, reason) in expected.items()}
    summary = json.loads(described["output"])
    reasons = [reason for _, reason in expected.values()]
    assert summary["images_processed"] == reasons.count(PROCESSED)
    assert summary["rejected_by_reason"] == {name: reasons.count(name) for name in (TOO_LARGE, INVALID, FORMAT)}


# Keys of every kind ---------------------------------------------------------------------------------------------------

# LocalStack takes all of them. S3's documentation advises against control characters and does not forbid them, and it
# refuses a key that leads out of the bucket, as in "../a.png", which LocalStack would take too.
KEYS = [
    *(f"control {code:02x} {chr(code)}.png" for code in [*range(32), 127]),
    # What Python and JavaScript take for the end of a line, what XML 1.0 cannot hold, and what nobody sees.
    *(f"character {code:04x} {chr(code)}.png" for code in (0x85, 0xA0, 0x200B, 0x202E, 0x2028, 0x2029, 0xFEFF, 0xFFFF)),
    "reserved &$@=;/:+ ,?.png",
    'to be avoided \\{^}%`]">[~<#|.png',
    "%", "%2F.png", "100%25.png", "+", "&amp;.png", "a?versionId=b#c.png",
    "a/../up.png", "a/./here.png", "a/..", "./a.png",
    "/leading slash.png", "//two.png", "in//between.png", "trailing slash/", "folder/",
    " ", "  leading spaces.png", "trailing spaces.png  ",
    unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png"),
    "\N{GRINNING FACE}.png",
    # Names of our own in the final bucket.
    "processed/a.png", "catalog/a.jsonl", "runs/a.json", "a.png.json", "a.png", "a.png.mask.png",
]  # fmt: skip


@pytest.mark.fault(
    "Images: keys with every reserved and control character that S3 allows, `..`, a leading slash, a folder marker"
)
def test_keys_of_every_kind_are_processed_from_their_event_and_from_a_listing(stack: Stack) -> None:
    """Half of them by the event that S3 sent, the other half without one: they are found by listing their versions."""
    stack.emulator.set(latency_ms=0, transactions_per_second_per_unit=200)
    listed = [stack.upload(f"listed/{key}", picture(number)) for number, key in enumerate(KEYS)]
    wait_for_events(stack, len(KEYS))
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    sent = [stack.upload(key, picture(number)) for number, key in enumerate(KEYS)]
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    results = {identity: result for identity, (result,) in stack.results().items()}
    for upload in (*listed, *sent):
        result = results[upload.key, upload.version_id]
        assert result["status"] == "processed", upload
    assert {line["key"] for line in stack.catalog()} == {upload.key for upload in (*listed, *sent)}
    summary = json.loads(described["output"])
    assert summary["requeued_images"] == len(listed)
    assert (summary["images_processed"], summary["images_rejected"]) == (2 * len(KEYS), 0)


# The same key, the same event -----------------------------------------------------------------------------------------


@pytest.mark.fault("Images: the same key uploaded twice before, during and after it is analysed")
def test_two_uploads_of_one_key_before_during_and_after_are_two_images(stack: Stack) -> None:
    stack.emulator.set(latency_ms=2500)
    newest = {}
    for key in ("before.png", "before.png", "during.png", "after.png"):
        newest[key] = stack.upload(key, picture(len(stack.uploads)))
    wait_for_events(stack, 4)
    execution = stack.start()
    wait_until(lambda: stack.environment.model()["detect_calls"] >= 3)
    assert stack.keys(stack.final, "processed/") == []
    newest["during.png"] = stack.upload("during.png", picture(10))
    wait_until(lambda: "after.png" not in stack.keys(stack.source))
    newest["after.png"] = stack.upload("after.png", picture(11))
    assert stack.wait(execution)["status"] == "SUCCEEDED"
    stack.run()  # in case that the run was over before the last upload
    stack.check()
    assert len(stack.results()) == 6
    for key, upload in newest.items():
        assert stack.read_json(f"processed/{key}.json")["source"]["version_id"] == upload.version_id


@pytest.mark.fault("Images: the same event three times, at the same time and later")
def test_one_event_three_times_at_once_and_later_is_one_result(stack: Stack) -> None:
    """LocalStack has one poller, so three environments of the function are called by hand, at the same time."""
    together, queued = stack.upload("together.png", picture(1)), stack.upload("queued.png", picture(2))
    stack.emulator.force_status("RUNNING")
    stack.emulator.set(latency_ms=700)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: stack.analyze(together), range(3)))
    assert all("batchItemFailures" in answer for answer in answers), answers
    for _ in range(2):
        stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=stack.event_of(queued))
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()

    def versions() -> list[tuple[str, str]]:
        found = stack.s3.list_object_versions(Bucket=stack.final, Prefix="processed/")["Versions"]
        return [(entry["Key"], entry["VersionId"]) for entry in found if entry["Key"].endswith(".json")]

    before = versions()
    assert sorted(key for key, _ in before) == ["processed/queued.png.json", "processed/together.png.json"]
    for upload in (together, queued, together, queued, together, queued):
        stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=stack.event_of(upload))
    stack.upload("another.png", picture(3))
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()
    assert set(before) < set(versions())
    assert len(versions()) == 3


@pytest.mark.fault("Images: deleted before its turn")
def test_images_that_are_deleted_before_their_turn(stack: Stack) -> None:
    """A version that is deleted is no more. A delete marker takes an upload back: it is not analyzed, and it is kept.

    Its message is acknowledged. When its user removes the marker, it has no message and is found by the next run.
    """

    def take_back(upload: Upload) -> str:
        return str(stack.s3.delete_object(Bucket=stack.source, Key=upload.key)["VersionId"])

    with_message, without, gone = (
        stack.upload(f"{name}.png", picture(number)) for number, name in enumerate(("with-message", "without", "gone"))
    )
    wait_for_events(stack, 3)
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=stack.event_of(with_message))
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=stack.event_of(gone))
    markers = {upload.key: take_back(upload) for upload in (with_message, without)}
    stack.s3.delete_object(Bucket=stack.source, Key=gone.key, VersionId=gone.version_id)
    stack.uploads.remove(gone)

    described = stack.run()
    assert stack.states(described["executionArn"])[-1] == "NothingToDo"
    assert stack.environment.model()["starts"] == 0
    stack.check(left=2)

    stack.upload("other.png", picture(5))
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check(left=2)
    assert {key for key, _ in stack.results()} == {"other.png"}
    assert not [key for key in stack.keys(stack.final) if "message" in key or "gone" in key or "without" in key]
    wait_until(lambda: sum(stack.messages().values()) == 0)

    for key, marker in markers.items():
        stack.s3.delete_object(Bucket=stack.source, Key=key, VersionId=marker)
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    assert json.loads(described["output"])["requeued_images"] == 2
    stack.check()


def test_a_rename_is_one_result_and_a_marker_over_the_first_of_three_uploads_takes_back_that_one(stack: Stack) -> None:
    old = stack.upload("old-name.png", picture(1))
    copied = {"Bucket": stack.source, "Key": old.key}
    version_id = stack.s3.copy_object(Bucket=stack.source, Key="new-name.png", CopySource=copied)["VersionId"]
    new = Upload("new-name.png", version_id, old.sha256)
    stack.s3.delete_object(Bucket=stack.source, Key=old.key)
    first = stack.upload("three.png", picture(2))
    stack.s3.delete_object(Bucket=stack.source, Key=first.key)
    later = [stack.upload("three.png", picture(number)) for number in (3, 4)]
    stack.uploads.append(new)
    stack.force_status("running")
    for upload in (first, *later, old, new):
        assert stack.analyze(upload) == {"batchItemFailures": []}
    assert set(stack.results()) == {(upload.key, upload.version_id) for upload in (new, *later)}
    assert stack.read_json("processed/three.png.json")["source"]["version_id"] == later[-1].version_id
    stack.check_each(left=2)
    assert stack.environment.model()["detect_calls"] == 3


# Objects that can be neither read nor moved ---------------------------------------------------------------------------


def test_what_can_be_neither_read_nor_moved_is_given_up_once_with_its_own_remedy(stack: Stack) -> None:
    """Encrypted by its uploader's own key, and held by a lock; a folder marker is no image at all."""
    content = picture(1)
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"0" * 32}
    encrypted = stack.upload("encrypted.png", content, **key)
    stack.s3.put_object_lock_configuration(
        Bucket=stack.source, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    held, folder = stack.upload("held.png", content), stack.upload("folder made in the console/", b"")
    hold = {"Bucket": stack.source, "Key": held.key, "VersionId": held.version_id}
    stack.s3.put_object_legal_hold(**hold, LegalHold={"Status": "ON"})
    stack.force_status("running")

    def written() -> list[str]:
        pages = stack.s3.get_paginator("list_object_versions").paginate(Bucket=stack.final, Prefix="stuck/")
        return [entry["VersionId"] for page in pages for entry in page.get("Versions", [])]

    for receive_count in (1, 2, 1, 5):
        for upload in (encrypted, held, folder):
            assert stack.analyze(upload, receive_count=receive_count) == {"batchItemFailures": []}
        assert len(written()) == 2, "an entry for each of the two, and nothing again at another delivery"
    entries = {key: entry["error"]["type"] for (key, _), entry in stack.stuck().items()}
    assert entries == {"encrypted.png": "ImageEncryptedError", "held.png": "ImageLockedError"}
    assert stack.waiting() == {(upload.key, upload.version_id) for upload in (encrypted, held, folder)}
    assert stack.environment.model()["detect_calls"] == 0

    stack.s3.put_object_legal_hold(**hold, LegalHold={"Status": "OFF"})
    for entry in stack.keys(stack.final, "stuck/"):
        stack.s3.delete_object(Bucket=stack.final, Key=entry)
    assert stack.analyze(held) == {"batchItemFailures": []}
    assert {key for key, _ in stack.results()} == {"held.png"}
    stack.uploads.remove(encrypted)
    stack.s3.delete_object(Bucket=stack.source, Key=encrypted.key, VersionId=encrypted.version_id)
    stack.check_each(left=1)


def test_a_service_that_calls_every_image_invalid_has_none_rejected(stack: Stack) -> None:
    stack.force_status("running")
    stack.emulator.inject("DetectCustomLabels", "InvalidParameterException", probability=1)
    upload = stack.upload("sound.png", picture(1))
    assert stack.analyze(upload)["batchItemFailures"] == [{"itemIdentifier": "1"}]
    assert stack.keys(stack.final) == []
    assert stack.analyze(upload, receive_count=5) == {"batchItemFailures": []}
    (entry,) = stack.stuck().values()
    assert entry["error"]["type"] == "UnexplainedRefusalError"
    stack.check_each(left=1)


def test_a_model_that_is_not_running_has_the_message_sent_anew(stack: Stack) -> None:
    upload = stack.upload("waits.png", picture(1))
    wait_for_events(stack, 1)
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    assert stack.analyze(upload) == {"batchItemFailures": []}
    assert stack.messages() == {"": 0, "NotVisible": 0, "Delayed": 1}
    assert stack.stuck() == {}
    stack.check_each(left=1)


# A faulty service -----------------------------------------------------------------------------------------------------


@pytest.mark.fault("Service: 30% throttled, 10% internal errors, slow answers, dropped connections, together")
def test_a_service_with_all_faults_together_loses_nothing(stack: Stack) -> None:
    faults: list[tuple[str, dict[str, float]]] = [
        ("ProvisionedThroughputExceededException", {"probability": 0.3}),
        ("InternalServerError", {"probability": 0.1}),
        ("drop", {"count": 3}),
        ("drop_answer", {"count": 3}),
        ("slow:1500", {"count": 3}),
    ]
    stack.emulator.set(transactions_per_second_per_unit=200)  # throttled by the faults alone
    for error, how_often in faults:
        stack.emulator.inject("DetectCustomLabels", error, **how_often)
    for number in range(40):
        stack.upload(f"{number}.png", picture(number))
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    assert all(result["status"] == "processed" for (result,) in stack.results().values())
    injected = stack.emulator.state()["faults"]["injected"]
    assert set(injected) == {f"DetectCustomLabels:{error}" for error, _ in faults}


# Lambdas that die; the last test, so that what it applies need not be undone for another one of the file ---


def exactly(key: str) -> str:
    return f"^{re.escape(key)}$"


@pytest.mark.fault("Draining: a Lambda that crashes")
@pytest.mark.fault("Draining: a Lambda that hangs to its timeout")
@pytest.mark.fault("Draining: a Lambda that is slow to start")
@pytest.mark.fault("Draining: a Lambda that dies half-way between writing the JSON and deleting the image")
@pytest.mark.fault("Draining: a Lambda that crashes on one image every time, until the dead-letter queue has it")
def test_lambdas_that_die_at_every_point_and_one_image_that_always_kills_lose_nothing(
    stack: Stack,
) -> None:
    stack.apply("-refresh=false", **SHORT)
    planned: dict[str, str] = {}

    def plan(name: str, action: str, point: str, **options: Any) -> None:
        planned[name] = stack.lambda_faults.inject(ANALYZE, action, point, **options)

    def upload(key: str) -> str:
        stack.upload(key, picture(len(stack.uploads)))
        return key

    # The first ones are hit by what hits whoever comes first.
    upload("crash.png")
    plan("crash", "die", "invocation")
    plan("slow start", "delay", "start", seconds=4)
    upload("answered when the function is no more.png")
    stack.emulator.inject("DetectCustomLabels", "slow:3000")
    poison = upload("always kills.png")
    plan(poison, "die", "before DetectCustomLabels", key=exactly(poison), probability=1)
    for when in ("before", "after"):
        key = upload(f"{when} the model is asked.png")
        plan(key, "die", f"{when} DetectCustomLabels", key=exactly(key))
        key = upload(f"{when} the result is written.png")
        plan(key, "die", f"{when} PutObject", key=exactly(f"processed/{key}.json"))
        key = upload(f"{when} the image is copied.png")
        plan(key, "die", f"{when} CopyObject", key=exactly(f"processed/{key}"))
        key = upload(f"{when} the image is deleted.png")
        plan(key, "die", f"{when} DeleteObject", key=exactly(key))
        upload(f"{when} the catalog is written.png")
        plan(f"{when} the catalog", "die", f"{when} PutObject", key="^catalog/")
    key = upload("hangs between result and copy.png")
    plan(key, "hang", "before CopyObject", key=exactly(f"processed/{key}"))

    described = stack.run()
    hits = {name: stack.lambda_faults.hits(fault) for name, fault in planned.items()}
    assert 3 <= hits.pop(poison) <= 5, "a delivery may have died of something else"
    assert set(hits.values()) == {1}, hits
    assert stack.emulator.state()["faults"]["planned"] == []
    assert described["status"] == "SUCCEEDED", described
    took = described["stopDate"] - described["startDate"]
    assert took.total_seconds() < DELIVERIES_SECONDS + len(planned) * COLD_START_SECONDS + OVERHEAD_SECONDS
    stack.check_each(left=1)
    assert stack.keys(stack.source) == [poison]
    assert sum(stack.messages(stack.dead_letter_queue_url).values()) == 0
    (entry,) = stack.keys(stack.final, "stuck/")
    assert stack.read_json(entry)["source"]["key"] == poison
    assert stack.read_json(entry)["error"]["type"] == "FunctionDiedError"
    model = stack.environment.model()
    assert (model["status"], model["starts"], model["stops"], model["not_running_calls"]) == ("STOPPED", 1, 1, 0)
    assert stack.mapping_state() == "Disabled"
    summary = stack.read_json(f"runs/{described['name']}.json")
    assert summary["images_processed"] == len(stack.uploads) - 1
    assert all(len(found) == 1 for found in stack.results().values())

    stack.lambda_faults.clear()
    stack.s3.delete_object(Bucket=stack.final, Key=entry)  # as `batch-vision retry` does
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
