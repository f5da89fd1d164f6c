"""The tool on deployments of every shape: a hosted or a managed model, a drop-off or an existing bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from batch_vision.core.chunks import Chunk, chunk_key, live_chunk_key
from batch_vision.core.events import Change, parse_change
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import catalog, images_bucket
from batch_vision.operator.results import download
from batch_vision.operator.stack import find_by_name, find_by_outputs
from tests.unit.test_tool_report import encoded
from tests.unit.tool_stack import FINAL, FINGERPRINT, IMAGES, NAME, SOURCE, SUMMARY, Deployed

type Deploy = Callable[..., Deployed]

SHAPES = [(is_hosted, is_drop_off) for is_hosted in (True, False) for is_drop_off in (True, False)]


@pytest.fixture
def managed(deploy: Deploy) -> Deployed:
    """A managed model and a drop-off bucket."""
    return deploy(is_hosted=False)


@pytest.fixture
def in_place(deploy: Deploy) -> Deployed:
    """A managed model and an existing bucket."""
    return deploy(is_hosted=False, is_drop_off=False)


@pytest.fixture
def hosted_in_place(deploy: Deploy) -> Deployed:
    """A hosted model and an existing bucket."""
    return deploy(is_drop_off=False)


def problems(deployed: Deployed) -> list[str]:
    return [entry["problem"] for entry in deployed.json("status")["problems"]]


def ago(**span: float) -> str:
    """Return a time as S3 tells times, in whole seconds."""
    return to_text((utc_now() - timedelta(**span)).replace(microsecond=0))


# Which stack.


@pytest.mark.parametrize(("is_hosted", "is_drop_off"), SHAPES)
def test_every_shape_is_the_same_by_outputs_and_by_name(deploy: Deploy, is_hosted: bool, is_drop_off: bool) -> None:
    deployed = deploy(is_hosted=is_hosted, is_drop_off=is_drop_off)
    stack = find_by_outputs(deployed.outputs_file)
    assert stack == find_by_name(NAME)
    assert (stack.is_hosted, stack.is_drop_off, stack.name) == (is_hosted, is_drop_off, NAME)
    assert stack.bucket_name == (SOURCE if is_drop_off else IMAGES)
    assert stack.places.source_prefixes == ("",)


@pytest.mark.parametrize(("is_hosted", "is_drop_off"), SHAPES)
def test_an_idle_stack_of_every_shape_is_well(deploy: Deploy, is_hosted: bool, is_drop_off: bool) -> None:
    deployed = deploy(is_hosted=is_hosted, is_drop_off=is_drop_off)
    result = deployed.call("status")
    assert result.exit_code == 0, result.output
    assert "all is well" in result.stdout
    assert ("rate(1 hour)" in result.stdout) is is_hosted
    assert ("images an hour" in result.stdout) is not (is_hosted and is_drop_off)
    assert deployed.json("status")["problems"] == []


def test_outputs_that_are_null_are_as_good_as_none(in_place: Deployed) -> None:
    """A root configuration may pass them on in an object, and Terraform prints those."""
    in_place.write_outputs(in_place.outputs | {"source_bucket_name": None, "state_machine_arn": None})
    assert find_by_outputs(in_place.outputs_file) == find_by_name(NAME)


def test_outputs_without_the_existing_bucket(in_place: Deployed) -> None:
    in_place.write_outputs({name: value for name, value in in_place.outputs.items() if name != "images_bucket_name"})
    result = in_place.call("status")
    assert (result.exit_code, "lacks images_bucket_name" in result.stderr) == (2, True)


# Commands that a shape does not have.


@pytest.mark.parametrize("words", [["run"], ["stop"], ["results", "--run", "r"], ["report", "--run", "r"]])
def test_a_managed_model_has_no_runs(managed: Deployed, words: list[str]) -> None:
    managed.put("runs/r.json", json.dumps(SUMMARY).encode(), FINAL)
    result = managed.call(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "managed model, rekognition" in result.stderr
    assert managed.mapping_state() == "Enabled"


def test_nothing_is_uploaded_to_an_existing_bucket(in_place: Deployed, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    result = in_place.call("upload", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"s3://{IMAGES}/" in result.stderr
    assert in_place.keys(IMAGES) == []


# A managed model.


def test_what_a_managed_model_is_asked_for(managed: Deployed) -> None:
    assert "rekognition, managed  (labels, text)" in managed.call("status").stdout
    assert managed.json("status")["model"] == {"backend": "rekognition", "id": "labels, text"}
    assert managed.json("status")["schedule"] is None


def test_a_mapping_that_is_disabled_keeps_a_managed_model_from_images(managed: Deployed) -> None:
    managed.functions.update_event_source_mapping(UUID=managed.mapping_uuid, Enabled=False)
    assert problems(managed) == ["the event source mapping is Disabled: no image is analyzed"]
    assert f"--uuid {managed.mapping_uuid} --enabled" in managed.call("status").stdout


def test_an_image_that_waits_for_too_long(managed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    managed.put("a.png")
    assert problems(managed) == []
    monkeypatch.setattr("batch_vision.operator.status._LONGEST_WAIT", timedelta(seconds=-60))
    (problem,) = problems(managed)
    assert "an image has waited since 20" in problem


def test_how_fast_and_how_often_refused(managed: Deployed) -> None:
    managed.catalog(ago(minutes=10), *({"key": f"{n}.png", "attempts": 2, "throttles": 1} for n in range(3)))
    managed.catalog(ago(hours=5), {"key": "old.png", "attempts": 4, "throttles": 0, "status": "rejected"})
    managed.catalog(ago(days=2), {"key": "older.png"})
    recent = managed.json("status")["recent"]
    assert {name: recent[name] for name in ("images", "images_per_hour", "images_rejected")} == {
        "images": 4,
        "images_per_hour": 3,
        "images_rejected": 1,
    }
    assert recent["refused_percent"] == 30
    (problem,) = problems(managed)
    assert problem.startswith("refused: 30% of the calls")
    assert "3 processed, 1 rejected, 0 failed in 24 h 0 min" in managed.call("status").stdout
    assert "3 images an hour, 30.0% of calls refused" in managed.call("status").stdout


def test_a_long_catalog_is_read_from_its_end(managed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_MOST_RECENT_OBJECTS", 5)
    for minutes in range(1, 21):
        managed.catalog(ago(minutes=minutes), {"key": f"{minutes}.png"})
    recent = managed.json("status")["recent"]
    assert recent["images"] == 5
    assert recent["images_per_hour"] == pytest.approx(60, abs=5)  # one a minute


def test_stuck_images_of_a_managed_model_are_tried_again_at_once(managed: Deployed) -> None:
    managed.sqs.send_message(QueueUrl=managed.dead_letter_queue_url, MessageBody="{}")
    result = managed.call("retry")
    assert result.exit_code == 0, result.output
    assert "batch-vision status" in result.stdout
    assert "batch-vision run" not in result.stdout


# An existing bucket.


def test_a_bucket_that_sends_no_events(in_place: Deployed) -> None:
    in_place.send_events(is_on=False)
    assert in_place.json("status")["images_bucket"]["sends_events"] is False
    (problem,) = problems(in_place)
    assert f"{IMAGES} does not send its events to EventBridge" in problem
    shown = in_place.call("status").stdout
    assert f"get-bucket-notification-configuration --bucket {IMAGES}" in shown


def test_a_bucket_that_does_not_exist(in_place: Deployed) -> None:
    in_place.s3.delete_bucket(Bucket=IMAGES)
    (problem,) = problems(in_place)
    assert f"{IMAGES} does not exist" in problem
    assert "images_bucket_name" in in_place.call("status").stdout


def test_a_bucket_of_another_region(in_place: Deployed) -> None:
    in_place.s3.delete_bucket(Bucket=IMAGES)
    in_place.s3.create_bucket(Bucket=IMAGES, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    (problem,) = problems(in_place)
    assert f"{IMAGES} is in Region eu-west-1, and the stack in us-east-1" in problem


def test_a_prefix_that_no_key_has(in_place: Deployed) -> None:
    in_place.configure(SOURCE_PREFIXES='["in/", "before/"]')
    in_place.put("before/a.png")
    (problem,) = problems(in_place)
    assert f"no key of bucket {IMAGES} begins with 'in/'" in problem


def test_results_that_may_be_older_than_the_settings(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place.put("a.png")
    in_place.in_place("a.png")
    older = in_place.json("status")["images_bucket"]["older_results"]
    assert (older["older"], older["looked_at"], older["is_all"]) == (0, 1, True)

    tomorrow = utc_now() + timedelta(days=1)
    monkeypatch.setattr(images_bucket, "deployed_at", lambda *_: tomorrow)
    in_place.put("b.png")
    in_place.in_place("b.png")
    in_place.put(f"results-long/{'0' * 64}.json", b"{}", FINAL)
    assert "3 of 3 may be older than the settings" in in_place.call("status").stdout
    monkeypatch.setattr(images_bucket, "_MOST_RESULTS", 2)
    assert "2 of the first 2 may be older" in in_place.call("status").stdout
    assert in_place.json("status")["problems"] == []


def test_settings_whose_age_is_not_known(in_place: Deployed) -> None:
    in_place.s3.delete_object(Bucket=FINAL, Key=f"settings/{FINGERPRINT}.json")
    assert in_place.json("status")["images_bucket"]["older_results"] is None


def test_failed_images_and_their_remedies(in_place: Deployed) -> None:
    for key in ("a.png", "b.png"):
        in_place.put(key)
        in_place.in_place(key, status="failed", error_type="ImageArchivedError", prediction=None)
    (problem,) = problems(in_place)
    assert problem == "failed: 2 images in the last 24 hours (ImageArchivedError 2)"
    assert "Restore the object. Then: batch-vision retry" in in_place.call("status").stdout
    in_place.in_place("a.png")
    in_place.in_place("b.png")
    assert problems(in_place) == []


def test_changes_that_nobody_looks_at(hosted_in_place: Deployed) -> None:
    hosted_in_place.functions.update_event_source_mapping(UUID=hosted_in_place.collecting_uuid, Enabled=False)
    (problem,) = problems(hosted_in_place)
    mapping = f"the event source mapping of {NAME}-collect-changes"
    assert problem == f"{mapping} is Disabled: no change of the bucket is looked at"


@pytest.mark.parametrize("queue", ["rule", "images"])
def test_dead_letters_of_the_other_queues(hosted_in_place: Deployed, queue: str) -> None:
    deployed = hosted_in_place
    deployed.sqs.send_message(QueueUrl=deployed.other_queues[f"{queue}-dead-letter"], MessageBody="an event")
    (problem,) = problems(deployed)
    assert problem.startswith("dead letters: 1 ")
    assert deployed.call("retry").exit_code == 0
    assert deployed.counts(deployed.other_queues["images"]) == 1
    assert problems(deployed) == []


@pytest.mark.parametrize("is_hosted", [True, False])
def test_a_dead_letter_that_is_back_owes_its_line_of_the_catalog(deploy: Deploy, is_hosted: bool) -> None:
    """A function may have written the result and died, and as a new message of S3's it would be a first delivery."""
    deployed = deploy(is_hosted=is_hosted, is_drop_off=False)
    queue = deployed.other_queues["images"] if is_hosted else deployed.queue_url
    dead = deployed.other_queues["images-dead-letter"] if is_hosted else deployed.dead_letter_queue_url
    event = {"source": "aws.s3", "detail": {"bucket": {"name": IMAGES}, "object": {"key": "a+b.png"}}}
    deployed.sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(event))
    deployed.functions.update_event_source_mapping(UUID=deployed.mapping_uuid, Enabled=False)  # moto takes messages
    assert deployed.call("retry").exit_code == 0
    received = deployed.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    changes = [parse_change(message["Body"], IMAGES)[0] for message in received]
    assert sorted(changes, key=str) == [
        [Change("a b.png", is_resent=True)],
        [Change("a+b.png", is_resent=True)],
    ]


def test_what_waited_for_a_hosted_model_is_sent_to_the_managed_one(in_place: Deployed) -> None:
    keys = tuple(f"{number}.png" for number in range(12))
    in_place.functions.update_event_source_mapping(UUID=in_place.mapping_uuid, Enabled=False)  # moto takes messages
    for chunk in (Chunk("f", keys[:11]), Chunk("f", keys[11:])):
        in_place.put(live_chunk_key(utc_now(), chunk), chunk.body(), FINAL)
    in_place.put(live_chunk_key(utc_now(), Chunk("f", ("x.png",))), b"no chunk", FINAL)
    # A backfill works off its own.
    in_place.put(chunk_key("job-1", "1", Chunk("f", keys)), Chunk("f", keys).body(), FINAL)
    assert "waiting: 13 images for a hosted model that the stack had before" in str(problems(in_place))
    assert "12 images that waited for a hosted model on the queue" in in_place.call("retry").stdout
    assert "waiting" not in str(problems(in_place))
    assert in_place.counts(in_place.queue_url) == 12
    assert [key for key in in_place.keys(FINAL) if key.startswith("work/live")] == []


def test_what_waits_for_a_hosted_model_is_in_work(hosted_in_place: Deployed) -> None:
    chunks = ("live/chunks/20261120T080000.000Z-7", "job-1/chunks/3-1000")
    for number, name in enumerate(chunks):
        hosted_in_place.put(f"work/{name}-{number:016x}.json", b"{}", FINAL)
    hosted_in_place.put("work/partial/" + "0" * 64 + ".json", b"{}", FINAL)
    assert hosted_in_place.json("status")["waiting"] == {"images": 1007, "is_at_least": False}
    assert f"1,007 images in {IMAGES}" in hosted_in_place.call("status").stdout


# Its catalog.


def keys(deployed: Deployed, *words: str) -> list[str]:
    return [line["key"] for line in deployed.json("results", *words)]


def test_a_key_has_the_line_that_was_recorded_last(in_place: Deployed) -> None:
    for key in ("a.png", "b.png"):
        in_place.put(key)
    newer, older = ago(minutes=1), ago(minutes=2)
    in_place.in_place("a.png", newer, predictions=[{"name": "Dog", "kind": "label", "confidence": 70.0}])
    in_place.in_place("a.png", older)  # its catalog object came late
    in_place.in_place("b.png", older)
    dog = in_place.json("results", "--key", "a.png")
    assert [line["predictions"][0]["name"] for line in dog] == ["Dog"]
    assert keys(in_place) == ["b.png", "a.png"]
    assert keys(in_place, "--kind", "label", "--label", "Dog") == ["a.png"]
    assert keys(in_place, "--kind", "text") == []


def test_a_deletion_hides_what_was_before_it(in_place: Deployed) -> None:
    in_place.put("a.png")
    in_place.in_place("a.png", ago(minutes=3))
    in_place.write_lines({"recorded_at": ago(minutes=2), "key": "a.png", "status": "deleted"})
    assert keys(in_place) == []
    in_place.in_place("a.png", ago(minutes=1))
    assert keys(in_place) == ["a.png"]


@pytest.mark.parametrize("is_there", [True, False])
def test_of_one_second_the_result_as_it_stands_decides(in_place: Deployed, is_there: bool) -> None:
    in_place.put("a.png")
    at = ago(minutes=1)
    line = in_place.in_place("a.png", at)
    in_place.write_lines({"recorded_at": at, "key": "a.png", "status": "deleted"})
    in_place.write_lines(line)  # as a redelivery does
    if not is_there:
        in_place.s3.delete_object(Bucket=FINAL, Key=line["result_key"])
    assert keys(in_place) == (["a.png"] if is_there else [])


def test_of_two_results_of_one_second_the_one_that_stands(in_place: Deployed) -> None:
    at = ago(minutes=1)
    for _ in range(2):
        last = in_place.put("a.png")
        line = in_place.in_place("a.png", at)
    in_place.write_lines(line | {"version_id": "before"})
    assert [line["version_id"] for line in in_place.json("results")] == [last]


# Download, report, retry.


def test_download_of_images_in_an_existing_bucket(in_place: Deployed, tmp_path: Path) -> None:
    for key in ("line 1/é.png", "replaced.png", "archived.png", "deleted.png"):
        in_place.put(key, key.encode())
    in_place.in_place("line 1/é.png")
    in_place.in_place("replaced.png")
    in_place.put("replaced.png", b"newer")
    in_place.in_place("archived.png", status="failed", error_type="ImageArchivedError", prediction=None)
    in_place.in_place("deleted.png")
    in_place.s3.delete_object(Bucket=FINAL, Key="results/deleted.png.json")
    out = tmp_path / "out"
    answer = in_place.json("results", "--download", str(out))
    assert (answer["images"], answer["without_image"]) == (2, ["archived.png"])
    assert answer["replaced"] == ["deleted.png"]
    assert (out / "line 1" / "é.png").read_bytes() == "line 1/é.png".encode()
    # The very version that was analyzed, which a versioned bucket still has.
    assert (out / "replaced.png").read_bytes() == b"replaced.png"
    assert json.loads((out / "archived.png.json").read_text())["error"]["remedy"]
    assert not (out / "archived.png").exists()
    again = in_place.json("results", "--download", str(out))
    assert again == answer


def test_an_image_without_versions_is_known_by_its_etag(in_place: Deployed, tmp_path: Path) -> None:
    for key in ("same.png", "other.png"):
        in_place.put(key, b"image")
        line = in_place.in_place(key, version_id="x")
        read = json.loads(in_place.read(FINAL, line["result_key"]))
        read["source"]["version_id"] = None
        in_place.s3.put_object(
            Bucket=FINAL, Key=line["result_key"], Body=json.dumps(read), Metadata={"batch-vision": "result"}
        )
        in_place.write_lines(line | {"version_id": None, "recorded_at": ago(seconds=-1)})
    in_place.put("other.png", b"replaced meanwhile")
    hour = timedelta(hours=1)
    found = [*catalog.lines_between(in_place.s3, FINAL, utc_now() - hour, utc_now() + hour)]
    assert {line["version_id"] for line in found} == {None}
    answer = download(in_place.stack(), found, tmp_path / "out", lambda _: None)
    assert (answer.images, answer.replaced) == (1, ["other.png"])
    assert (tmp_path / "out" / "same.png").read_bytes() == b"image"


def test_a_report_of_an_existing_bucket(in_place: Deployed, tmp_path: Path) -> None:
    in_place.put("cat.png", encoded())
    in_place.in_place("cat.png")
    in_place.put("archived.png", encoded())
    in_place.in_place("archived.png", status="failed", error_type="ImageArchivedError", prediction=None)
    out = tmp_path / "report.html"
    assert in_place.json("report", "--out", str(out)) | {"size_bytes": 0} == {
        "path": str(out),
        "images": 2,
        "shown": 2,
        "size_bytes": 0,
    }
    page = out.read_text()
    assert page.count("data:image/webp") == 1
    assert '<rect class="c0" x="0.1" y="0.2" width="0.3" height="0.4"/>' in page  # of an instance
    assert "in Animal" in page
    assert "<h4>label</h4>" in page
    assert "Restore the object." in page
    # Of the image that was processed.
    assert "<dt>Cost of labels, about</dt><dd>$0.0010</dd>" in page
    assert "<dt>Failed</dt>" in page


@pytest.mark.parametrize("is_hosted", [True, False])
def test_retry_has_failed_images_looked_at_again(deploy: Deploy, is_hosted: bool) -> None:
    deployed = deploy(is_hosted=is_hosted, is_drop_off=False)
    for key in ("a.png", "b&b+.png", "mended.png", "fine.png"):
        deployed.put(key)
        status = "processed" if key == "fine.png" else "failed"
        deployed.in_place(key, status=status, error_type=None if status == "processed" else "ImageArchivedError")
    # Mended since, and its line is not there yet.
    deployed.put("results/mended.png.json", b"{}", FINAL, Metadata={"batch-vision": "result", "status": "processed"})
    deployed.functions.update_event_source_mapping(UUID=deployed.mapping_uuid, Enabled=False)  # moto takes messages
    result = deployed.call("retry")
    assert result.exit_code == 0, result.output
    assert "2 failed images on the queue" in result.stdout
    assert "1 left" in result.stdout
    queue = deployed.other_queues["images"] if is_hosted else deployed.queue_url
    received = deployed.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    details = [json.loads(message["Body"])["detail"] for message in received]
    assert {detail["bucket"]["name"] for detail in details} == {IMAGES}
    assert {detail["object"]["key"] for detail in details} == {"a.png", "b&b+.png"}
    assert [key for key in deployed.keys(FINAL) if key.startswith("results/")] == [
        "results/fine.png.json",
        "results/mended.png.json",
    ]


def test_a_retry_that_was_interrupted_goes_on(in_place: Deployed) -> None:
    """The result is deleted, and the message was not sent."""
    in_place.put("a.png")
    line = in_place.in_place("a.png", status="failed", error_type="ImageArchivedError")
    in_place.s3.delete_object(Bucket=FINAL, Key=line["result_key"])
    in_place.functions.update_event_source_mapping(UUID=in_place.mapping_uuid, Enabled=False)  # moto takes messages
    assert in_place.json("retry")["failed"] == {"retried": 1, "changed": 0}
    assert in_place.counts(in_place.queue_url) == 1


def test_retry_of_rejected_images_in_an_existing_bucket(in_place: Deployed) -> None:
    for key, reason in (("a.png", "InvalidImageFormatError"), ("b.png", "ImageTooLargeError")):
        in_place.put(key)
        in_place.in_place(key, status="rejected", error_type=reason)
    answer = in_place.json("retry", "--rejected", "--reason", "ImageTooLargeError")
    assert answer["rejected"] == {"retried": 1, "changed": 0}
    assert [key for key in in_place.keys(FINAL) if key.startswith("results/")] == ["results/a.png.json"]


def test_retry_since_is_of_an_existing_bucket(managed: Deployed) -> None:
    result = managed.call("retry", "--since", "7d")
    assert (result.exit_code, "--since" in result.stderr) == (2, True)
