"""Thousands of changes of an existing bucket, with all faults at once, drawn from one seed: `make soak SHAPE=existing`.

The owner of the bucket uploads, overwrites, deletes, copies and brings back. The messages are handed to the function by
several pollers of this module, for LocalStack has only one: they double messages, hold them back, and hand the same key
to several invocations at the same time. Meanwhile the model service throttles, fails, is slow and drops connections, S3
is busy, and functions die and hang between any two steps. In the end each object has its result, and no answer was paid
for twice but for a death or an overlap that was counted.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import click

from batch_vision.core.events import message_about, parse_change
from batch_vision.core.scope import Scope
from batch_vision.operator.display import Display
from local import config
from local.errors import LocalError
from local.images_bucket import ImagesBucket
from tests.existing_bucket import broken_promises
from tests.local import backfills, shapes
from tests.local.soak import table
from tests.local.stack import Stack, sqs_record
from tests.local.test_stack import picture

REPORT_FILE = config.LOCAL_BUILD / "soak-existing.json"
BUCKET = ImagesBucket("pile-of-somebody")
PREFIX = "pile/"
ARGUMENTS = {"source_prefix": PREFIX, "rekognition": shapes.rekognition("labels", "moderation")}
# A function that is cut off costs a cold start, and on a busy machine the next one is cut off for that.
PATIENT = {"analyze_timeout_seconds": 30}
SCOPE = Scope((PREFIX,), (".jpg", ".jpeg", ".png"))
FUNCTION = "analyze-images"
POLLERS = 6
# The longest that the end takes when all is quiet: messages that were sent anew wait for a minute, some of them again.
SETTLE_SECONDS = 300.0

# Chances of a call, by what happens to it.
SERVICE_FAULTS = {
    "ProvisionedThroughputExceededException": 0.15,
    "InternalServerError": 0.05,
    "slow:500": 0.02,
    "drop": 0.01,
    "drop_answer": 0.01,
}
LAMBDA_FAULTS = {
    **{
        f"die {when} {operation}": 0.002
        for operation in ("HeadObject", "DetectLabels", "DetectModerationLabels", "PutObject", "DeleteObject")
        for when in ("before", "after")
    },
    "hang before PutObject": 0.0005,
    "delay before PutObject": 0.02,
    "delay after HeadObject": 0.01,
}
# How often S3 is busy, for each thousand changes; not for the owner of the bucket.
OWN_KEYS = "^(catalog|results|work)/"
BUSY_PER_THOUSAND = {"PutObject": 40, "HeadObject": 80, "DeleteObject": 10}


@dataclass
class Report:
    """What came of a soak.

    Attributes
    ----------
    appearances
        How often an object became the current one of its key: by an upload, a copy, or because it was brought back.
    images_in_deaths
        Keys of the invocations that died, whose answers may be lost.
    overlaps
        Keys that an invocation was handed while another one had them.
    """

    seed: int
    changes: int
    keys: int
    objects: int = 0
    appearances: int = 0
    images_in_deaths: int = 0
    overlaps: int = 0
    invocations: int = 0
    messages: int = 0
    redriven_dead_letters: int = 0
    leftover_answers: int = 0
    wrong_ends: int = 0
    paid: dict[str, int] = field(default_factory=dict)
    lost_answers: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    elapsed_seconds: float = 0.0
    backfilled: int = 0
    backfill_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def most_paid(self, operation: str) -> int:
        """How many answers of an operation there is a reason for."""
        return self.appearances + self.images_in_deaths + self.overlaps + self.lost_answers.get(operation, 0)

    @property
    def is_good(self) -> bool:
        """Whether each object has its result, and nothing was paid for without a reason."""
        is_cheap = all(images <= self.most_paid(operation) for operation, images in self.paid.items())
        return is_cheap and not self.wrong_ends and not self.problems


class Owner:
    """Somebody who changes their bucket, by chance."""

    def __init__(self, stack: Stack, chances: random.Random, keys: int, *, is_versioned: bool) -> None:
        self._s3, self._bucket = stack.s3, stack.source
        self._random = chances
        self._keys = [f"{PREFIX}{number % 7}/{number}.jpg" for number in range(keys)]
        self._is_versioned = is_versioned
        self._bodies: dict[str, bytes] = {}
        self._there: set[str] = set()
        self._numbers = itertools.count()
        self.done: Counter[str] = Counter()
        self.appearances = 0

    def change(self) -> None:
        """Make one change."""
        key = self._random.choice(self._keys)
        kinds = {"upload": 10, "same bytes": 2, "delete": 4, "copy": 2, "no picture": 1}
        if self._is_versioned:
            kinds |= {"bring back": 3, "restore": 1, "delete newest": 1}
        (kind,) = self._random.choices(list(kinds), list(kinds.values()))
        if getattr(self, f"_{kind.replace(' ', '_')}")(key):
            self.done[kind] += 1

    def _put(self, key: str, body: bytes) -> bool:
        self._bodies[key] = body
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)
        return self._appeared(key)

    def _appeared(self, key: str) -> bool:
        self._there.add(key)
        self.appearances += 1
        return True

    def _upload(self, key: str) -> bool:
        return self._put(key, picture(next(self._numbers), "JPEG"))

    def _same_bytes(self, key: str) -> bool:
        return key in self._bodies and self._put(key, self._bodies[key])

    def _no_picture(self, key: str) -> bool:
        return self._put(key, f"no picture {next(self._numbers)}".encode())

    def _delete(self, key: str) -> bool:
        self._there.discard(key)
        self._s3.delete_object(Bucket=self._bucket, Key=key)
        return True

    def _copy(self, key: str) -> bool:
        others = sorted(self._there - {key})
        if not others:
            return False
        source = self._random.choice(others)
        self._s3.copy_object(Bucket=self._bucket, Key=key, CopySource={"Bucket": self._bucket, "Key": source})
        return self._appeared(key)

    def _versions(self, key: str) -> tuple[list[str], list[str]]:
        listed = self._s3.list_object_versions(Bucket=self._bucket, Prefix=key)
        markers = [entry["VersionId"] for entry in listed.get("DeleteMarkers", []) if entry["IsLatest"]]
        return [entry["VersionId"] for entry in listed.get("Versions", [])], markers

    def _bring_back(self, key: str) -> bool:
        _, markers = self._versions(key)
        if not markers:
            return False
        self._s3.delete_object(Bucket=self._bucket, Key=key, VersionId=markers[0])
        versions, markers = self._versions(key)  # what was under the marker may be another one
        return self._appeared(key) if versions and not markers else True

    def _restore(self, key: str) -> bool:
        versions, _ = self._versions(key)
        if not versions:
            return False
        source = {"Bucket": self._bucket, "Key": key, "VersionId": self._random.choice(versions)}
        # LocalStack takes a version for the object itself, which may be copied with a change only.
        self._s3.copy_object(Bucket=self._bucket, Key=key, CopySource=source, MetadataDirective="REPLACE")
        return self._appeared(key)

    def _delete_newest(self, key: str) -> bool:
        versions, markers = self._versions(key)
        if not versions or markers:
            return False
        self._s3.delete_object(Bucket=self._bucket, Key=key, VersionId=versions[0])
        left, markers = self._versions(key)
        if left and not markers:
            return self._appeared(key)
        self._there.discard(key)
        return True


class Pollers:
    """Several event source mappings in one, which do to messages what SQS may do to them."""

    def __init__(self, stack: Stack, report: Report, seed: int) -> None:
        self._stack, self._report, self._seed = stack, report, seed
        self._lock = threading.Lock()
        self._in_flight: Counter[str] = Counter()
        self.is_faulty = True
        self.is_over = False

    def poll(self, number: int) -> None:
        """Take messages, until it is over."""
        chances = random.Random(self._seed + number)
        while not self.is_over:
            taken = self._stack.sqs.receive_message(
                QueueUrl=self._stack.queue_url,
                MaxNumberOfMessages=chances.randint(1, 10),
                WaitTimeSeconds=1,
                AttributeNames=["ApproximateReceiveCount"],
            )
            messages = taken.get("Messages", [])
            if self.is_faulty:
                messages = [message for message in messages if not self._is_held_back(message, chances)]
            chances.shuffle(messages)
            if messages:
                self._invoke(messages, chances)

    def _is_held_back(self, message: dict[str, Any], chances: random.Random) -> bool:
        """Send some messages again, to come later, and delete some of those: late, doubled, or both."""
        chance = chances.random()
        # A message that was delivered before has told the function so, and a new one would not.
        if chance > 0.2 or message["Attributes"]["ApproximateReceiveCount"] != "1":
            return False
        queue = {"QueueUrl": self._stack.queue_url}
        self._stack.sqs.send_message(**queue, MessageBody=message["Body"], DelaySeconds=chances.randint(0, 8))
        if chance > 0.1:
            self._count("message doubled")
            return False
        self._stack.sqs.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])
        self._count("message held back")
        return True

    def _invoke(self, messages: list[dict[str, Any]], chances: random.Random) -> None:
        changes = [parse_change(message["Body"], self._stack.source)[0] for message in messages]
        keys = {change.key for found in changes for change in found}
        with self._lock:
            self._report.invocations += 1
            self._report.messages += len(messages)
            self._report.overlaps += sum(self._in_flight[key] > 0 for key in keys)
            self._in_flight.update(keys)
        records = [
            sqs_record(message["MessageId"], message["Body"], message["Attributes"]["ApproximateReceiveCount"])
            for message in messages
        ]
        try:
            said = self._stack.deliver(*records)
        finally:
            with self._lock:
                self._in_flight.subtract(keys)
        if "errorType" in said:
            with self._lock:
                self._report.images_in_deaths += len(keys)
            failed = {message["MessageId"] for message in messages}
        else:
            failed = {item["itemIdentifier"] for item in said["batchItemFailures"]}
        for message in messages:
            handle = {"QueueUrl": self._stack.queue_url, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failed:
                self._stack.sqs.change_message_visibility(**handle, VisibilityTimeout=chances.randint(0, 3))
            else:
                self._stack.sqs.delete_message(**handle)

    def _count(self, name: str) -> None:
        with self._lock:
            self._report.faults[name] = self._report.faults.get(name, 0) + 1


class Soak:
    """One soak of a managed model on an existing bucket, whose mapping is paused.

    Parameters
    ----------
    seed
        What all chances depend on. What they hit depends on timing, too.
    changes, keys
        How often the owner changes something, and over how many keys.
    """

    def __init__(self, stack: Stack, seed: int, changes: int, keys: int, *, is_versioned: bool) -> None:
        self.report = Report(seed, changes, keys)
        self._stack = stack
        self._random = random.Random(seed)
        self._owner = Owner(stack, self._random, keys, is_versioned=is_versioned)
        self._lambda_faults: dict[str, str] = {}

    def run(self, limit_seconds: float) -> Report:
        """Do it all, within a bound of time, and look at what came of it."""
        began = time.monotonic()
        self._plan_faults()
        pollers = Pollers(self._stack, self.report, self.report.seed)
        with ThreadPoolExecutor(POLLERS) as pool:
            polling = [pool.submit(pollers.poll, number) for number in range(POLLERS)]
            try:
                self._change(began + limit_seconds)
                pollers.is_faulty = False
                self._end_faults()
                self._settle(began + limit_seconds + SETTLE_SECONDS)
            finally:
                pollers.is_over = True
            for future in polling:
                future.result()
        self._account()
        self.report.elapsed_seconds = round(time.monotonic() - began, 1)
        return self.report

    def _change(self, deadline: float) -> None:
        """Change the bucket so many times; a machine that is too slow for that has made fewer, and says so."""
        for made in range(self.report.changes):
            if time.monotonic() > deadline:
                self.report.problems.append(f"{made} of {self.report.changes} changes were made in the time")
                return
            self._owner.change()
            # Neither far behind, where nothing overlaps, nor far ahead, where all changes are seen at once.
            while self._waiting() > 10 * POLLERS and time.monotonic() < deadline:
                time.sleep(0.2)

    def _plan_faults(self) -> None:
        emulator, faults = self._stack.emulator, self._stack.lambda_faults
        for operation in ("DetectLabels", "DetectModerationLabels"):
            for error, probability in SERVICE_FAULTS.items():
                emulator.inject(operation, error, probability=probability, seed=self._random.randrange(2**32))
        for name, probability in LAMBDA_FAULTS.items():
            action, point = name.split(" ", 1)
            options: dict[str, Any] = {"probability": probability, "seed": self._random.randrange(2**32)}
            if action == "delay":
                options["seconds"] = 1.5
            self._lambda_faults[name] = faults.inject(FUNCTION, action, point, **options)
        for operation, count in BUSY_PER_THOUSAND.items():
            count = -(-count * self.report.changes // 1000)
            self._lambda_faults[f"busy {operation}"] = faults.refuse(
                operation, "SlowDown", count=count, status=503, key=OWN_KEYS
            )

    def _end_faults(self) -> None:
        injected: dict[str, int] = self._stack.emulator.state()["faults"]["injected"]
        self.report.faults |= injected
        drops = {name.partition(":") for name in injected if name.endswith(":drop_answer")}
        self.report.lost_answers = {name[0]: injected["".join(name)] for name in drops}
        self._stack.emulator.clear_faults()
        hits = {name: self._stack.lambda_faults.hits(fault) for name, fault in self._lambda_faults.items()}
        self.report.faults |= {name: count for name, count in hits.items() if count}
        self._stack.lambda_faults.clear()

    def _waiting(self) -> int:
        return self._stack.messages()[""]

    def _settle(self, deadline: float) -> None:
        """Wait until no message is anywhere, for a few seconds on end; bring dead letters back, as an operator does."""
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + 5:
            if time.monotonic() > deadline:
                self.report.problems.append(f"messages are left: {self._stack.messages()}")
                return
            url = self._stack.dead_letter_queue_url
            for message in self._stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                for change in parse_change(message["Body"], self._stack.source)[0]:
                    body = message_about(self._stack.source, change.key)
                    self._stack.sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=body)
                self._stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                self.report.redriven_dead_letters += 1
            if sum(self._stack.messages().values()) + sum(self._stack.messages(url).values()):
                quiet_since = time.monotonic()
            time.sleep(0.5)

    def _account(self) -> None:
        report, stack = self.report, self._stack
        broken = broken_promises(stack.s3, stack.source, stack.final, SCOPE)
        report.wrong_ends = len(broken)
        report.problems += broken[:20]
        report.appearances = self._owner.appearances
        report.done = dict(self._owner.done)
        report.paid = shapes.paid(stack)
        report.objects = len(stack.keys(stack.source, PREFIX))
        places = stack.keys(stack.final, "results/")
        report.statuses = dict(Counter(stack.read_json(place)["status"] for place in places))
        # Of an upload that was replaced before all analyses had answered; of no use, and of no harm.
        report.leftover_answers = len(stack.keys(stack.final, "work/partial/"))


def backfill(stack: Stack, images: int, report: Report) -> None:
    """Have images analyzed that no event told of: a third of them, and then the rest beside those."""
    folder = f"{PREFIX}backfill/"
    paid = shapes.paid(stack).get("DetectLabels", 0)
    for begin, end in ((0, images // 3), (images // 3, images)):
        with backfills.untold(stack, end - begin):
            for number in range(begin, end):
                key = f"{folder}{number:06}.jpg"
                stack.s3.put_object(Bucket=stack.source, Key=key, Body=picture(number % 100, "JPEG"))
        began = time.monotonic()
        found = backfills.backfill("--prefix", folder, "--concurrency", "2")
        report.backfill_seconds = round(time.monotonic() - began, 1)
        if (found["outcome"], found["counts"]["planned"]) != ("succeeded", end - begin):
            report.problems.append(f"the backfill ended so: {found}")
    report.backfilled = images
    if (answers := shapes.paid(stack)["DetectLabels"] - paid) != images:
        report.problems.append(f"{answers} answers were paid for, of {images} images")
    broken = broken_promises(stack.s3, stack.source, stack.final, SCOPE)
    report.wrong_ends += len(broken)
    report.problems += broken[:20]


@click.command()
@click.option("--changes", type=click.IntRange(100, 50_000), default=5000, show_default=True)
@click.option("--keys", type=click.IntRange(10, 10_000), default=1000, show_default=True)
@click.option("--backfill", "images", type=click.IntRange(0, 20_000), default=0, help="Then a backfill of so many.")
@click.option("--versioned", type=click.BOOL, default=False, help="Whether the bucket keeps versions.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=None, help="Repeat the faults of an earlier soak.")
@click.option("--minutes", type=click.FloatRange(1, 60), default=30.0, show_default=True, help="The most it takes.")
def main(changes: int, keys: int, images: int, versioned: bool, seed: int | None, minutes: float) -> None:
    """Soak an existing bucket on LocalStack; exits with 1 for a wrong end, or a call that nobody had to pay for."""
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    display = Display()
    display.console.print(f"seed {seed}: repeat with make soak SHAPE=existing SEED={seed}", highlight=False)
    try:
        bucket = ImagesBucket(BUCKET.name, is_versioned=versioned)
        with shapes.deployed("rekognition", bucket, **ARGUMENTS, **PATIENT) as stack, display.step("Soaking") as step:
            with shapes.paused(stack):
                report = Soak(stack, seed, changes, keys, is_versioned=versioned).run(minutes * 60)
            if images:
                backfill(stack, images, report)
            step.done("each object has its result" if report.is_good else "broken", is_good=report.is_good)
    except LocalError as error:
        raise click.ClickException(str(error)) from error
    REPORT_FILE.write_text(json.dumps(asdict(report), indent=2) + "\n")
    display.console.print(table(report))
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
