"""Many images over several scheduled runs, with all faults at once, drawn from one seed: `make soak`.

Images are uploaded in waves while the schedule starts a run each minute. Meanwhile the model service throttles, fails,
is slow and drops connections; Lambdas die, hang and start late; events are doubled and lost; runs are started beside
the scheduled one, and stopped from outside; the model fails in the middle. In the end every upload is accounted for.

A seed gives the same faults with the same chances. What they hit depends on timing, too.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from batch_vision.operator.display import Display
from local import config, environment
from local.emulator.models import HOSTED_MODELS
from local.environment import EMULATOR_SETTINGS, MODULE_ARGUMENTS, OFF_STATUSES
from local.errors import LocalError
from tests.local.faults import LambdaFaults
from tests.local.stack import Stack
from tests.local.test_stack import SAMPLES, picture

if TYPE_CHECKING:
    from collections.abc import Callable

BACKEND = "rekognition_custom_labels"
REPORT_FILE = config.LOCAL_BUILD / "soak.json"

# Short waits, through the variables that users have too.
ARGUMENTS = MODULE_ARGUMENTS | {
    "name_prefix": "soak",
    "schedule_expression": "rate(1 minute)",
    "analyze_timeout_seconds": 8,
    "stall_timeout_seconds": 120,
    "start_timeout_seconds": 30,
    "stop_timeout_seconds": 60,
    "drain_poll_seconds": 1,
    "drain_timeout_seconds": 240,
    "max_concurrency": 4,
    # Twice what the emulated model does, for LocalStack's one poller; with 40% of the calls refused, a Lambda keeps an
    # eighth of its pace.
    "images_per_second_per_unit": 100,
    "account_images_per_second": 500,
}
EMULATOR = EMULATOR_SETTINGS | {
    "start_seconds": 2,
    "stop_seconds": 1,
    "latency_ms": 20,
    "transactions_per_second_per_unit": 50,
}
# What nobody owns may be on for this long: model_poll_seconds, an event and a cold start on a busy machine.
REACTION_SECONDS = 60.0
# And so much longer each time that the watchdog itself is killed: Lambda repeats its call after a minute.
REPEAT_SECONDS = 65.0
# The longest that a run may take to end by itself when all is quiet: the drain, the stop, and what was retried.
SETTLE_SECONDS = 300.0

_POLL_SECONDS = 0.5

# Chances of a call, by operation and what happens to it.
SERVICE_FAULTS = {
    "DetectCustomLabels": {
        "ProvisionedThroughputExceededException": 0.3,
        "InternalServerError": 0.1,
        "slow:1500": 0.01,
        "drop": 0.01,
        "drop_answer": 0.01,
    },
    "StartProjectVersion": {"ThrottlingException": 0.2, "FAILED": 0.1, "drop_answer": 0.1},
    "StopProjectVersion": {"ThrottlingException": 0.2, "InternalServerError": 0.1, "drop_answer": 0.1},
    "DescribeProjectVersions": {"ThrottlingException": 0.1, "drop": 0.02},
}
# Chances of a call of a function, by function, action and point.
LAMBDA_FAULTS = [
    ("analyze-images", "die", "before DetectCustomLabels", 0.004),
    ("analyze-images", "die", "after DetectCustomLabels", 0.004),
    ("analyze-images", "die", "after PutObject", 0.004),
    ("analyze-images", "die", "after CopyObject", 0.004),
    ("analyze-images", "die", "after DeleteObject", 0.004),
    ("analyze-images", "hang", "before CopyObject", 0.002),
    ("analyze-images", "delay", "start", 0.2),
    ("start-model", "die", "after StartProjectVersion", 0.2),
    ("stop-model", "die", "after StopProjectVersion", 0.2),
    ("check-backlog", "die", "invocation", 0.02),
    ("requeue-images", "die", "after SendMessageBatch", 0.1),
    ("summarize-run", "die", "before PutObject", 0.2),
    ("guard-model", "die", "invocation", 0.1),
]


WATCHDOG_DIES = "guard-model die invocation"


@dataclass
class Report:
    """What came of a soak; the three figures of `broken` must be 0."""

    seed: int
    images: int
    uploads: int = 0
    images_processed: int = 0
    images_rejected: int = 0
    images_lost: int = 0
    images_doubled: int = 0
    runs_that_left_the_model_on: int = 0
    is_emptied: bool = False
    runs: dict[str, int] = field(default_factory=dict)
    scheduled_runs: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    detect_calls: int = 0
    throttled_calls: int = 0
    model_starts: int = 0
    redriven_dead_letters: int = 0
    inference_unit_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or left on, and all was done in time."""
        broken = self.images_lost or self.images_doubled or self.runs_that_left_the_model_on
        return self.is_emptied and not broken and not self.problems


class Soak:
    """One soak of an applied stack.

    Parameters
    ----------
    stack
        Applied with `ARGUMENTS`.
    seed
        What all chances depend on.
    images
        How many to upload, at least; some are uploaded twice.
    waves
        In how many parts: each second one comes in the middle of a run, the others before the next scheduled run;
        what is left of them at half-time comes at once.
    """

    def __init__(self, stack: Stack, seed: int, images: int, waves: int = 6) -> None:
        self._wave_images = -(-images // waves)
        self.report = Report(seed, images)
        self._stack = stack
        self._random = random.Random(seed)
        self._lambda_faults: dict[str, str] = {}
        self._on_since: float | None = None
        self._is_counted = False
        self._deaths = self._watchdog_deaths = 0
        self._by_hand: set[str] = set()

    def run(self, limit_seconds: float, progress: Callable[[int, int, str], None]) -> Report:
        """Do it all, within a bound of time, and account for every upload."""
        began = time.monotonic()
        deadline = began + limit_seconds
        self._plan_faults()
        waves, done_waves = self._waves(), 0
        while time.monotonic() < deadline:
            self._look_for_what_nobody_owns()
            is_late = time.monotonic() > began + limit_seconds / 2
            if waves and (is_late or self._is_time_for_a_wave(is_in_mid_run=done_waves % 2 == 1)):
                self._upload(waves.pop(0))
                done_waves += 1
            elif not waves and not self._left():
                break
            self._meddle()
            self._redrive()
            left = len(self._left())
            now = f"{self._status()}, {len(self._executions())} runs"
            progress(len(self._stack.uploads) - left, self.report.images, now)
            time.sleep(_POLL_SECONDS)
        self._settle()
        self._account()
        self.report.elapsed_seconds = round(time.monotonic() - began, 1)
        return self.report

    # What happens.

    def _is_time_for_a_wave(self, *, is_in_mid_run: bool) -> bool:
        """Say whether half of the last wave is done, or all of it and the run has ended."""
        left = len(self._left())
        if is_in_mid_run:
            return left <= self._wave_images // 2
        return not left and not self._executions("RUNNING")

    def _plan_faults(self) -> None:
        for operation, chances in SERVICE_FAULTS.items():
            for error, probability in chances.items():
                self._stack.emulator.inject(
                    operation, error, probability=probability, seed=self._random.randrange(2**32)
                )
        for function, action, point, probability in LAMBDA_FAULTS:
            options: dict[str, Any] = {"probability": probability, "seed": self._random.randrange(2**32)}
            if action == "delay":
                options["seconds"] = 3
            name = f"{function} {action} {point}"
            self._lambda_faults[name] = self._stack.lambda_faults.inject(function, action, point, **options)

    def _waves(self) -> list[list[tuple[str, bytes]]]:
        """What to upload: pictures, some of them a second time under the same name, and a few files that are none."""
        count = self.report.images
        files = []
        for number in range(count):
            is_picture = self._random.random() < 0.97
            # No character that a URL quotes: LocalStack begins again after 1,000 versions of such keys.
            files.append((f"line-{number % 7}/{number}.png", picture(number) if is_picture else b"no picture"))
        size = self._wave_images
        waves = [files[start : start + size] for start in range(0, count, size)]
        wave_of = {key: number for number, wave in enumerate(waves) for key, _ in wave}
        # Never in the same wave as the first, for the uploads of a wave have no order.
        again = self._random.sample([key for key, _ in files if wave_of[key] + 1 < len(waves)], count // 20)
        for number, key in enumerate(again):
            waves[wave_of[key] + 1].append((key, picture(count + number)))
        return waves

    def _upload(self, wave: list[tuple[str, bytes]]) -> None:
        known = len(self._stack.uploads)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda file: self._stack.upload(*file), wave))
        new = self._stack.uploads[known:]
        for upload in self._random.sample(new, len(new) // 20):
            self._stack.sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=self._stack.event_of(upload))
            self.report.faults["event doubled"] = self.report.faults.get("event doubled", 0) + 1
        for _ in range(len(new) // 200 + 1):
            taken = self._stack.sqs.receive_message(QueueUrl=self._stack.queue_url, MaxNumberOfMessages=10)
            for message in taken.get("Messages", []):
                handle = message["ReceiptHandle"]
                self._stack.sqs.delete_message(QueueUrl=self._stack.queue_url, ReceiptHandle=handle)
                self.report.faults["event lost"] = self.report.faults.get("event lost", 0) + 1

    def _meddle(self) -> None:
        """Do what somebody outside may do at any time: another start, a stop in mid-run, a model that fails."""
        chance = self._random.random()
        running = self._executions("RUNNING")
        if chance < 0.02:
            self._by_hand.add(self._stack.start())
        elif chance < 0.025 and running:
            self._stack.workflow.stop_execution(executionArn=running[0]["executionArn"])
        elif chance < 0.0265 and self._status() == "RUNNING" and running:
            self._stack.force_status("failed")
            self.report.faults["model failed in mid-run"] = self.report.faults.get("model failed in mid-run", 0) + 1

    def _redrive(self) -> None:
        """Bring dead letters back, as an operator does when the alarm rings."""
        url = self._stack.dead_letter_queue_url
        for message in self._stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            self._stack.sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=message["Body"])
            self._stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            self.report.redriven_dead_letters += 1

    # What is seen.

    def _left(self) -> list[str]:
        return self._stack.keys(self._stack.source)

    def _status(self) -> str:
        return str(self._stack.environment.model()["status"])

    def _executions(self, status: str | None = None) -> list[dict[str, Any]]:
        request = {"stateMachineArn": self._stack.state_machine_arn} | ({"statusFilter": status} if status else {})
        pages = self._stack.workflow.get_paginator("list_executions").paginate(**request)
        return [execution for page in pages for execution in page["executions"]]

    def _look_for_what_nobody_owns(self) -> None:
        """Count a run that has left the model on, or the mapping enabled, for longer than the bound."""
        # First whether it is on, then whether a run owns it: a run that begins in between owns what it turns on.
        is_on = self._status() not in (*OFF_STATUSES, "STOPPING") or self._stack.mapping_state() == "Enabled"
        if not is_on or self._executions("RUNNING"):
            self._on_since, self._is_counted = None, False
            self._watchdog_deaths = self._count_watchdog_deaths()
            return
        now = time.monotonic()
        self._on_since = self._on_since or now
        bound_seconds = REACTION_SECONDS + REPEAT_SECONDS * (self._count_watchdog_deaths() - self._watchdog_deaths)
        if now - self._on_since > bound_seconds and not self._is_counted:
            self._is_counted = True
            self.report.runs_that_left_the_model_on += 1

    def _count_watchdog_deaths(self) -> int:
        # They are forgotten with the faults, at the end.
        self._deaths = max(self._deaths, self._stack.lambda_faults.hits(self._lambda_faults.get(WATCHDOG_DIES, "none")))
        return self._deaths

    def _settle(self) -> None:
        """No more schedule and no more faults: what is under way comes to its end."""
        rule = self._stack.environment.output("schedule_rule_name")
        self._stack.environment.client("events").disable_rule(Name=rule)
        self._stack.emulator.clear_faults()
        self._count_faults()
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            self._look_for_what_nobody_owns()
            if not self._executions("RUNNING") and self._on_since is None:
                break
            time.sleep(_POLL_SECONDS)
        else:
            self.report.problems.append(f"a run was under way {SETTLE_SECONDS:.0f} s after the last image")
        self.report.is_emptied = not self._left()
        statuses = [self._stack.emulator.model(model.arn)["status"] for model in HOSTED_MODELS.values()]
        if not set(statuses) <= set(OFF_STATUSES) or self._stack.mapping_state() != "Disabled":
            self.report.problems.append(f"left on: models {statuses}, mapping {self._stack.mapping_state()}")

    def _count_faults(self) -> None:
        counts = Counter(self.report.faults)
        counts.update(self._stack.emulator.state()["faults"]["injected"])
        counts.update({name: self._stack.lambda_faults.hits(fault) for name, fault in self._lambda_faults.items()})
        self.report.faults = dict(sorted((name, count) for name, count in counts.items() if count))
        self._stack.lambda_faults.clear()

    def _account(self) -> None:
        """Report the end of every upload, or that it has none or two."""
        report, stack = self.report, self._stack
        results = stack.results()
        waiting = stack.waiting()
        for upload in stack.uploads:
            identity = (upload.key, upload.version_id)
            found = results.get(identity, [])
            places = {result["image_key"] for result in found}
            report.images_lost += not places and identity not in waiting
            report.images_doubled += len(places) > 1
            statuses = {result["status"] for result in found}
            report.images_processed += "processed" in statuses
            report.images_rejected += "rejected" in statuses
        report.uploads = len(stack.uploads)
        if report.uploads < report.images:
            report.problems.append(f"only {report.uploads} images were uploaded in the time that there was")
        try:
            stack.check_each(left=0)  # the bytes, the schema, and that nothing else is there
        except AssertionError as error:
            report.problems.append(str(error).partition("\n")[0])
        runs = self._executions()
        outcomes = [self._outcome(execution) for execution in runs]
        report.runs = dict(sorted(Counter(outcomes).items()))
        report.scheduled_runs = sum(execution["executionArn"] not in self._by_hand for execution in runs)
        if report.scheduled_runs < 2:
            report.problems.append(f"only {report.scheduled_runs} runs were begun by the schedule")
        model = stack.environment.model()
        report.detect_calls, report.throttled_calls = model["detect_calls"], model["throttled_calls"]
        report.model_starts = model["starts"]
        report.inference_unit_seconds = model["billed_unit_seconds"]

    def _outcome(self, execution: dict[str, Any]) -> str:
        """Return the error of an execution, or how it ended well: RunSucceeded, NothingToDo or AlreadyRunning."""
        described = self._stack.workflow.describe_execution(executionArn=execution["executionArn"])
        if described["status"] == "SUCCEEDED":
            return self._stack.states(execution["executionArn"])[-1]
        return str(described.get("error") or described["status"])


def table(report: Report) -> Table:
    """The figures, to be printed."""
    made = Table("figure", "value", title=f"soak with seed {report.seed}")
    for name, value in asdict(report).items():
        words = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)
        made.add_row(name.replace("_", " "), words)
    return made


def save(report: Report) -> None:
    """Write the figures where they can be read later."""
    REPORT_FILE.parent.mkdir(parents=True, exist_ok=True)
    REPORT_FILE.write_text(json.dumps(asdict(report), indent=2) + "\n")


def up(display: Display) -> environment.Environment:
    """Start the environment of a soak; raises `LocalError` as `local.environment.up` does."""
    return environment.up(
        display,
        SAMPLES,
        backend=BACKEND,
        dies_with_parent=True,
        arguments=ARGUMENTS,
        emulator_settings=EMULATOR,
        localstack_settings={"BATCH_VISION_LAMBDA_FAULTS": str(LambdaFaults.prepare())},
    )


@click.command()
@click.option("--images", type=click.IntRange(100, 20_000), default=2000, show_default=True, help="How many to upload.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=None, help="Repeat the faults of an earlier soak.")
@click.option(
    "--minutes", type=click.FloatRange(5, 30), default=30.0, show_default=True, help="The most that it takes."
)
def main(images: int, seed: int | None, minutes: float) -> None:
    """Soak the stack on LocalStack; exits with 1 when an image is lost or doubled or the model left on."""
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    display = Display()
    display.console.print(f"seed {seed}: repeat with make soak SEED={seed} IMAGES={images}", highlight=False)
    began = time.monotonic()
    try:
        running = up(display)
    except LocalError as error:
        raise click.ClickException(str(error)) from error
    try:
        with display.step("Soaking") as step:
            # What the start and the end take is within the bound too.
            limit_seconds = minutes * 60 - (time.monotonic() - began) - SETTLE_SECONDS
            report = Soak(Stack(running, dict(ARGUMENTS)), seed, images).run(limit_seconds, step.progress)
            step.done("nothing lost, nothing left on" if report.is_good else "broken", is_good=report.is_good)
    finally:
        environment.down()
    save(report)
    display.console.print(table(report))
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
