"""The operator's tool on a real stack, called as an operator calls it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch_vision.core.manifests import is_test
from local import config, environment
from tests.local.interruptible import interruptible
from tests.local.learning import labelled_folder, trained
from tests.local.stack import Stack, Upload
from tests.local.test_guard import REACTION_SECONDS, abort_in, alerts, is_off
from tests.local.test_stack import LABELLED, picture
from tests.local.waits import wait_until
from tests.unit.review_world import ask

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

BACKEND = "rekognition_custom_labels"


@pytest.fixture(autouse=True)
def journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def upload_of(line: dict[str, Any]) -> tuple[str, str]:
    return line["key"], line["version_id"]


def variables(**changes: str) -> dict[str, str]:
    """What a shell has after `source build/local/env`."""
    return {**os.environ, **environment.CLIENT_ENVIRONMENT, **changes}


def start(*words: str, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        interruptible(sys.executable, "-m", "batch_vision", *words),
        cwd=config.REPOSITORY,
        env=variables(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*words: str, **changes: str) -> tuple[int, str, str]:
    process = start(*words, **changes)
    printed, said = process.communicate(timeout=600)
    assert "Traceback" not in said, said
    return process.returncode, printed, said


def read(*words: str) -> Any:
    return json.loads(call(*words, "--json")[1])


def make(target: str) -> tuple[int, str]:
    """Call a make target, in a shell that knows nothing of the local stack."""
    finished = subprocess.run(
        ["make", target],
        cwd=config.REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE"))},
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


def upload(stack: Stack, folder: Path, number: int) -> None:
    """Upload a folder with the tool, and note what was uploaded as the checks want it."""
    for name in (f"line {n % 2}/é+{n:02}.png" for n in range(number)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(int(name[-6:-4])))
    answer = read("upload", str(folder))
    assert answer["uploaded"] == number
    note(stack)


def note(stack: Stack) -> None:
    """Note every upload that waits and is not noted yet."""
    known = {(noted.key, noted.version_id) for noted in stack.uploads}
    for entry in stack._versions(stack.source):
        identity = (entry["Key"], entry["VersionId"])
        if identity not in known:
            body = stack.s3.get_object(Bucket=stack.source, Key=identity[0], VersionId=identity[1])["Body"].read()
            stack.uploads.append(Upload(*identity, hashlib.sha256(body).hexdigest()))


def test_an_idle_stack_is_well(stack: Stack) -> None:
    status, printed = make("status")
    assert status == 0, printed
    for text in (
        "e2e, account 000000000000, us-east-1",
        "TRAINING_COMPLETED",
        "Disabled",
        stack.arguments["schedule_expression"],
        "all is well",
    ):
        assert text in printed
    by_name, by_outputs = read("status", "--stack", "e2e"), read("status")
    assert by_name == by_outputs
    assert by_name["problems"] == []
    status, printed, _ = call("run", "--watch", "--poll-seconds", "0.5")
    assert (status, "no image waits: the model was not started" in printed) == (0, True), printed
    assert read("status")["runs"][0]["outcome"] == "nothing_to_do"
    stack.check()


def test_upload_run_results_retry(stack: Stack, tmp_path: Path) -> None:
    """A day of an operator: everything goes well, but for one file that is no image."""
    pile, out = tmp_path / "pile", tmp_path / "out"
    pile.mkdir()
    (pile / "notes.txt").write_text("no picture")
    (pile / "line 0").mkdir()
    (pile / "line 0" / "é+00.png").write_bytes(picture())
    assert (read("upload", str(pile))["uploaded"], read("upload", str(pile))["left_out"]) == (
        1,
        {"notes.txt": "no image by its name"},
    )
    assert read("upload", str(pile), "--all")["uploaded"] == 1
    upload(stack, pile, 9)  # é+00.png is written once more, and the others are new

    stack.emulator.set(stop_seconds=3600)  # the run goes on until the second operator has joined it
    process = start("run", "--watch", "--poll-seconds", "0.5")
    wait_until(lambda: stack.mapping_state() == "Enabled", 60, "the run is at work")
    found = read("status")
    assert (found["problems"], found["runs"][0]["outcome"]) == ([], "running")
    assert found["model"]["state"] in ("running", "stopping")
    joined = start("run", "--watch", "--json")  # a second operator watches the same run
    assert joined.stderr is not None
    assert "Already under way" in joined.stderr.readline()
    stack.emulator.set(stop_seconds=1)
    printed, said = process.communicate(timeout=600)
    assert process.returncode == 0, printed + said
    assert "images processed  10\n" in printed
    assert "images rejected   1 (InvalidImageFormatError 1)\n" in printed
    assert "the run is done, and the model is stopped" in printed
    assert re.search(r"cost +up to \$0\.0\d+", printed)
    run = json.loads(joined.communicate(timeout=300)[0])
    assert (joined.returncode, run["outcome"]) == (0, "succeeded")
    stack.check()

    assert len(read("results", "--run", run["id"])) == 11
    labels = {line["predictions"][0]["name"] for line in read("results", "--status", "processed")}
    assert labels <= set(stack.environment.model()["labels"])
    (rejected,) = read("results", "--status", "rejected")
    assert (rejected["key"], rejected["error_type"]) == ("notes.txt", "InvalidImageFormatError")
    everything = read("search", "--history", "--limit", "0")["lines"]
    assert sorted(map(upload_of, everything)) == sorted(map(upload_of, read("results")))
    assert [line["key"] for line in read("search", "--status", "rejected")["lines"]] == ["notes.txt"]
    made = read("report", "--run", run["id"], "--out", str(tmp_path / "report.html"))
    assert (made["images"], made["shown"]) == (11, 11)
    page = (tmp_path / "report.html").read_text()
    assert (page.count("<img src="), page.count("InvalidImageFormatError") > 0) == (page.count('class="picture"'), True)
    assert page.count("<img src=") >= 9  # but those that were uploaded again since
    answer = read("results", "--download", str(out))
    # The first of the two uploads of a key is a noncurrent version, or stands under a name of its own.
    assert (answer["images"], answer["replaced"]) == (11, [])
    for path in (path for path in pile.rglob("*.png")):
        assert (out / "processed" / path.relative_to(pile)).read_bytes() == path.read_bytes()

    assert read("retry", "--rejected") == {"retried": 1, "skipped": {}}
    assert stack.keys(stack.source) == ["notes.txt"]
    assert stack.keys(stack.final, "rejected/") == []
    stack.uploads = [noted for noted in stack.uploads if noted.key != "notes.txt"]  # that upload is another one now
    note(stack)
    assert call("run", "--watch", "--poll-seconds", "0.5")[0] == 0
    assert stack.keys(stack.final, "rejected/") == ["rejected/notes.txt", "rejected/notes.txt.json"]
    stack.check()


def sources(manifest: Path) -> set[str]:
    return {json.loads(line)["source-ref"] for line in manifest.read_text().splitlines()}


@pytest.mark.matrix
def test_review_correct_train_compare(stack: Stack, tmp_path: Path) -> None:
    """The people of this factory call a stain rust: they say so, and a second model learns it."""
    pile, manifest = tmp_path / "pile", tmp_path / "train.manifest"
    for number in (*range(4), *range(8, 12), *range(16, 20)):
        path = pile / LABELLED[number].parent.name / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    read("upload", str(pile))
    note(stack)
    assert call("run", "--watch", "--poll-seconds", "0.5")[0] == 0

    process = start("review", "--no-browser", "--by", "ann")
    assert process.stdout is not None
    found = re.search(r"12 images to judge at http://127.0.0.1:(\d+)/#token=(\S+)", process.stdout.readline())
    assert found, process.communicate(timeout=60)
    server: Any = SimpleNamespace(server_port=int(found[1]), token=found[2])
    names = ask(server, "/api/session")[1]["labels"]
    judgements = []
    for number, row in enumerate(ask(server, "/api/rows")[1]):
        truth = row[0].partition("/")[0].replace("stain", "rust")
        verdict = "right" if [names[name] for name in row[1]] == [truth] else "wrong"
        judgements.append({"row": number, "verdict": verdict, "labels": [truth], "boxes": None})
    assert ask(server, "/api/judgements", {"judgements": judgements})[0] == 200
    card = ask(server, "/api/card/0")[1]
    assert (card["missing"], card["thumbnail"][:23]) == ("", "data:image/webp;base64,")
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, "12 judgements, all of them in s3://" in printed) == (0, True), printed + said

    told = read("corrections", "--label", "rust")
    assert [(one["verdict"], one["is_current"]) for one in told] == [("wrong", True)] * 4
    made = read("manifest", "--out", str(manifest), "--test-percent", "0")
    assert made["train"]["images_by_label"] == {"crack": 4, "normal": 4, "rust": 4}
    # With a test set, each image is in one of both, by its bytes.
    part = tmp_path / "part.manifest"
    parts = read("manifest", "--out", str(part), "--test-percent", "30")
    assert parts["train"]["images_by_label"] == parts["test"]["images_by_label"] == {"crack": 2, "normal": 2, "rust": 2}
    tested = {path for path in pile.rglob("*.png") if is_test(hashlib.md5(path.read_bytes()).hexdigest(), 30)}
    places = {f"s3://{stack.final}/processed/{path.relative_to(pile)}" for path in tested}
    assert (sources(tmp_path / "test.manifest"), sources(part)) == (places, sources(manifest) - places)
    learned = labelled_folder(stack.s3, manifest, tmp_path / "learned")
    first, second = config.PROJECT_VERSION_ARN, config.PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.2")
    with trained(learned, [first, second]):
        model = {"project_arn": config.PROJECT_ARN, "project_version_arn": second}
        stack.apply("-refresh=false", rekognition_custom_labels=model)
        read("upload", str(pile), "--again")
        note(stack)
        assert call("run", "--watch", "--poll-seconds", "0.5")[0] == 0
        answer = read("search", "--compare", first, second)
        stack.apply("-refresh=false")
    assert (answer["compared"], answer["corrected"]) == (12, 12)
    assert {"a": "stain", "b": "rust", "images": 4} in answer["pairs"]
    assert (answer["labels"]["rust"]["a"]["missed"], answer["labels"]["rust"]["b"]["right"]) == (4, 4)
    assert answer["labels"]["stain"]["a"]["wrong"] == 4
    # What was judged is of the first uploads; the second ones have the same bytes.
    assert {one["is_current"] for one in read("corrections")} == {True}
    stack.check_each()


def never_moves(machine: dict[str, Any]) -> None:
    states = machine["States"]["ProcessBacklog"]["Branches"][0]["States"]
    states["CheckProgress"]["Parameters"]["stall_timeout_seconds"] = 5


def takes_too_long(machine: dict[str, Any]) -> None:
    machine["TimeoutSeconds"] = 3


# What breaks a run: a fault of the model service, a change of the workflow, or a state in which somebody stops it.
BROKEN: dict[str, tuple[dict[str, Any] | None, Callable[[dict[str, Any]], None] | None, str | None]] = {
    "the model fails while it starts": (
        {"operation": "StartProjectVersion", "error": "FAILED", "count": 1},
        None,
        None,
    ),
    "other models use up the quota": (
        {"operation": "StartProjectVersion", "error": "LimitExceededException", "probability": 1.0},
        None,
        None,
    ),
    "the model does not exist": (
        {"operation": "DescribeProjectVersions", "error": "ResourceNotFoundException", "probability": 1.0},
        None,
        None,
    ),
    "no image succeeds": (
        {"operation": "DetectCustomLabels", "error": "InternalServerError", "probability": 1.0},
        never_moves,
        None,
    ),
    "the model may not be stopped": (
        {"operation": "StopProjectVersion", "error": "AccessDeniedException", "count": 1},
        None,
        None,
    ),
    "somebody stops the run": (None, None, "WaitForModel"),
    "the run reaches its own timeout": (None, takes_too_long, None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_an_operator_sees_of_a_broken_run_is_what_the_manual_says(stack: Stack, what: str) -> None:
    """One row of the table in docs/operations.md each: `status`, the mail, and the summary."""
    fault, change, stopped_in = BROKEN[what]
    stack.emulator.set(start_seconds=1 if fault else 4)
    stack.upload("a.png", picture())
    if fault:
        stack.emulator.inject(**fault)
    mails: list[dict[str, str]] = []

    def has_mail() -> bool:
        mails.extend(received())
        return bool(mails)

    with alerts(stack) as received, stack.definition(change or (lambda _: None)):
        execution = stack.start()
        if stopped_in:
            abort_in(stack, execution, stopped_in)
        described = stack.wait(execution)
        wait_until(has_mail, 40, "the mail")
    stack.emulator.clear_faults()
    wait_until(lambda: is_off(stack), 5 + REACTION_SECONDS, "mapping disabled and model off")
    row = row_of(what, described, mails, read("status")["problems"], stack)
    assert row in (config.REPOSITORY / "docs" / "operations.md").read_text().splitlines(), row


def row_of(
    what: str, described: dict[str, Any], mails: list[dict[str, str]], problems: list[dict[str, str]], stack: Stack
) -> str:
    """The row of the table; ids and the words of errors are left out."""
    (mail,) = mails
    said = "; ".join(brief(problem["problem"], described["name"]) for problem in problems) or "all is well"
    key = f"runs/{described['name']}.json"
    summary = "none"
    if key in stack.keys(stack.final, "runs/"):
        found = stack.read_json(key)
        summary = f"{found['end_reason']}, {found['images_processed']} processed, {found['images_left']} left"
    return f"| {what} | {said} | {mail['Subject']} | {mail['Message'].splitlines()[0]} | {summary} |"


def brief(text: str, run_id: str) -> str:
    text = text.replace(run_id, "ID").replace("\n", " ")
    text = re.sub(r"\((\w[\w.]*): .*\)$", r"(\1: …)", text)
    return re.sub(r"^(the model is [A-Z_]+) \(.*\)$", r"\1", text)


@pytest.mark.matrix
@pytest.mark.fault("Draining: a Lambda that crashes on one image every time, until the dead-letter queue has it")
def test_images_that_were_given_up_come_back_with_make_redrive(stack: Stack, tmp_path: Path) -> None:
    """The function lacks a permission until every image is given up; then it is mended."""
    names = ["RedrivePolicy", "VisibilityTimeout"]
    deployed = stack.sqs.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=names)["Attributes"]
    impatient = json.dumps(json.loads(deployed["RedrivePolicy"]) | {"maxReceiveCount": 2})
    attributes = {"RedrivePolicy": impatient, "VisibilityTimeout": "1"}
    stack.sqs.set_queue_attributes(QueueUrl=stack.queue_url, Attributes=attributes)
    try:
        stack.emulator.inject("DetectCustomLabels", "AccessDeniedException", probability=1.0)
        upload(stack, tmp_path / "pile", 3)
        status, printed, _ = call("run", "--watch", "--poll-seconds", "0.5")
    finally:
        stack.sqs.set_queue_attributes(QueueUrl=stack.queue_url, Attributes=deployed)
    assert (status, "3 stuck images" in printed) == (0, True), printed

    status, printed = make("status")
    assert status != 0
    assert "stuck: 3 images given up" in printed
    assert "batch-vision retry" in printed
    found = read("status")
    assert (found["waiting"]["images"], found["stuck"]["images"], found["dead_letters"]) == (0, 3, 0)
    stack.check_each(left=3)

    stack.emulator.clear_faults()
    status, printed = make("redrive")
    assert (status, "3 stuck images back on the queue" in printed) == (0, True), printed
    assert call("run", "--watch", "--poll-seconds", "0.5")[0] == 0
    assert read("status")["problems"] == []
    stack.check()


@pytest.mark.matrix
def test_stopped_in_mid_run_all_is_off_and_the_next_run_finishes(stack: Stack, tmp_path: Path) -> None:
    stack.emulator.set(latency_ms=2000, transactions_per_second_per_unit=1)
    upload(stack, tmp_path / "pile", 60)
    watching = start("run", "--watch", "--poll-seconds", "0.5")
    wait_until(lambda: stack.keys(stack.final, "processed/"), 60, "images are processed")

    leaving = start("run", "--watch", "--poll-seconds", "0.5")
    assert leaving.stdout is not None
    assert "Already under way" in leaving.stdout.readline()
    time.sleep(0.5)
    leaving.send_signal(signal.SIGINT)
    assert "stopped watching; run operator-" in leaving.communicate(timeout=300)[1]
    assert leaving.returncode == 130
    assert read("status")["runs"][0]["outcome"] == "running"

    status, printed, said = call("stop", "--poll-seconds", "0.5")
    assert (status, "all is off" in printed) == (0, True), printed + said
    # What was throttled stays in flight until its visibility timeout.
    wait_until(lambda: stack.messages()["NotVisible"] == 0, 60, "nothing in flight")
    # The watchdog hears of the aborted run too, and stops its model without waiting for the calls in flight.
    stack.check_nothing_runs(refused_calls_allowed=True)
    printed, _ = watching.communicate(timeout=300)
    assert (watching.returncode, "was aborted" in printed) == (1, True)
    left = len(stack.keys(stack.source))
    assert 0 < left < 60
    stack.check_each(left=left)
    assert read("status")["problems"] == []

    stack.emulator.reset()  # the count of refused calls too: the next run has none
    assert call("run", "--watch", "--poll-seconds", "0.5")[0] == 0
    stack.check()


def test_what_is_left_on_is_seen_and_stopped(stack: Stack) -> None:
    stack.emulator.force_status("RUNNING")
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    wait_until(lambda: stack.mapping_state() == "Enabled", what="the mapping is enabled")
    found = [problem["problem"].split(",")[0] for problem in read("status")["problems"]]
    assert found[:2] == ["the model is RUNNING", "the event source mapping is Enabled"]
    assert found[2:] in ([], ["the last run"])  # how that of another test ended
    assert call("stop", "--poll-seconds", "0.5")[0] == 0
    stack.check_nothing_runs()


def test_a_command_says_why_it_cannot_reach_a_stack(stack: Stack) -> None:
    """The one that would write; `test_tool_stack` has them all."""
    words = ("upload", "local/samples/pile")
    status, printed, said = call(*words, "--stack", "other")
    assert (status, printed, "no such stack (--stack other)" in said) == (3, "", True), said
    status, printed, said = call(*words, "--stack", "Wrong_Name")
    assert (status, printed, "--stack is 'Wrong_Name'" in said) == (2, "", True), said
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    nobody |= {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere"}
    status, printed, said = call(*words, **nobody)
    assert (status, printed, "There are no AWS credentials" in said) == (3, "", True), said
    status, printed, said = call(*words, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert (status, printed, "AWS does not answer" in said) == (3, "", True), said
    assert stack.keys(stack.source) == []
