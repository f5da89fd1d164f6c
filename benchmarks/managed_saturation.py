"""How much of its share of the quotas of a managed model the analyzing function uses, and what a neighbour notices.

As in `saturation`, the function runs the real handler against the emulator, with S3 and SQS of LocalStack. The
neighbour is somebody else in the account who asks for the rest of a quota at a steady pace, and does not try again.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.managed_pace import invocations_for
from benchmarks.poller import Poller
from benchmarks.report import Result
from benchmarks.saturation import CREDENTIALS, LATENCY_MS, SAMPLES, WARM_SECONDS, Pile, endpoints, window_of
from benchmarks.simulation import function_environment, terraform_defaults
from local.emulator.labelled import learn_folder
from local.emulator.objects import S3ObjectReader
from local.emulator.server import Emulator, EmulatorServer
from local.emulator.settings import Settings
from local.localstack import start_localstack

if TYPE_CHECKING:
    from types import TracebackType

SECONDS = 45  # of work, for each case
_OPERATIONS = {"labels": "DetectLabels", "text": "DetectText"}


@dataclass(frozen=True)
class Case:
    """A deployment.

    Attributes
    ----------
    calls_per_second
        The quota of each operation.
    share
        What of it the deployment may use; a neighbour asks for the rest of the first operation's.
    """

    calls_per_second: float
    share: float
    analyses: tuple[str, ...]

    @property
    def cap(self) -> float:
        """What the deployment may use of each quota, in calls a second."""
        return self.calls_per_second * self.share


# Two cores manage about 20 images a second through LocalStack.
CASES = (Case(4.0, 1.0, ("labels",)), Case(4.0, 1.0, ("labels", "text")), Case(10.0, 0.6, ("labels",)))


class Neighbour:
    """Asks about a small image so many times a second, from when it is entered until it is left."""

    def __init__(self, url: str, calls_per_second: float) -> None:
        self._client = boto3.client(
            "rekognition",
            endpoint_url=url,
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
            **CREDENTIALS,  # type: ignore[call-overload]
        )
        self._calls_per_second = calls_per_second
        self._image = (SAMPLES / "pile" / "part-01.jpg").read_bytes()
        self._ended = threading.Event()
        self._pacer = threading.Thread(target=self._pace)
        self.calls = self.refused = 0

    def __enter__(self) -> Neighbour:
        """Begin."""
        if self._calls_per_second:
            self._pacer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._ended.set()
        if self._calls_per_second:
            self._pacer.join()

    def _pace(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(max(0.0, began + self.calls / self._calls_per_second - time.monotonic())):
            self.calls += 1
            threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            self._client.detect_labels(Image={"Bytes": self._image})
        except ClientError:
            self.refused += 1


def measure(case: Case, localstack_url: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Feed the function a backlog of some seconds of work, and count what the emulator admits and refuses."""
    defaults = terraform_defaults()
    timeout_seconds = int(defaults["analyze_timeout_seconds"])
    name = f"{case.calls_per_second:g}-{len(case.analyses)}-{case.share:g}".replace(".", "-")
    pile = Pile.make(localstack_url, name, 6 * timeout_seconds)
    operations = [_OPERATIONS[analysis] for analysis in case.analyses]
    batch_size = int(defaults["batch_size"])
    invocations = invocations_for(case.cap, batch_size)
    images = int(case.cap * (seconds + WARM_SECONDS)) + invocations * batch_size
    pile.fill(images)
    rate = {"calls_per_second": case.cap / invocations, "most_calls_per_second": case.cap / invocations}
    told = function_environment(
        defaults,
        SOURCE_BUCKET_NAME=pile.source,
        FINAL_BUCKET_NAME=pile.final,
        BACKEND="rekognition",
        BACKEND_SETTINGS=json.dumps({"analyses": case.analyses}),
        PACES=json.dumps(dict.fromkeys(operations, rate)),
    )
    settings = Settings(latency_ms=LATENCY_MS).updated(
        {"calls_per_second": dict.fromkeys(operations, case.calls_per_second)}
    )
    emulator = Emulator(learn_folder(SAMPLES / "labelled"), S3ObjectReader.at(localstack_url), settings=settings)
    with EmulatorServer(emulator) as model:
        environment = told | endpoints(localstack_url, model.url)
        neighbour = Neighbour(model.url, case.calls_per_second - case.cap)

        def look() -> tuple[int, ...]:
            counted = model.operation(operations[0])
            return counted["calls"] - (neighbour.calls - neighbour.refused), counted["throttled"] - neighbour.refused

        with (
            neighbour,
            Poller(
                pile.sqs,
                pile.queue_url,
                environment,
                max_concurrency=invocations,
                batch_size=batch_size,
                timeout_seconds=timeout_seconds,
            ) as poller,
        ):
            samples = pile.watch(look, 3 * (seconds + WARM_SECONDS))
        counts = model.state()["operations"]
    (begin, admitted_before, refused_before), (end, admitted, refused) = window_of(samples)
    calls = admitted - admitted_before + refused - refused_before
    return {
        "quota, calls a second": case.calls_per_second,
        "share": case.share,
        "analyses": len(case.analyses),
        "invocations": invocations,
        "images": images,
        "of the allowed throughput used": (admitted - admitted_before) / ((end - begin) * case.cap),
        "refused calls, share": (refused - refused_before) / max(1, calls),
        "neighbour's calls": neighbour.calls,
        "neighbour refused, share": neighbour.refused / max(1, neighbour.calls),
        "calls / image and analysis": (
            sum(counts[one]["calls"] for one in operations) - neighbour.calls + neighbour.refused
        )
        / (images * len(operations)),
        "left for redelivery": poller.polled.left,
        "images lost": images - pile.count_ended() - pile.count_left(),
        "errors": len(poller.polled.errors),
    }


def run(quick: bool = False) -> Result:
    """Measure one analysis, two of them, and one beside a neighbour."""
    localstack = start_localstack(dies_with_parent=True)
    try:
        rows = [measure(case, localstack.url, 8 if quick else SECONDS) for case in (CASES[:1] if quick else CASES)]
    finally:
        localstack.stop()
    result = Result("Saturation of a managed model: the real handler against the emulator, beside a neighbour", rows)
    used = min(row["of the allowed throughput used"] for row in rows)
    result.target("at least 95% of the allowed throughput used", used, is_met=used >= 0.95)
    refused = max(row["refused calls, share"] for row in rows)
    result.target("under 2% of calls refused", refused, is_met=refused < 0.02)
    disturbed = max(row["neighbour refused, share"] for row in rows)
    result.target("a neighbour who takes the rest is refused under 1%", disturbed, is_met=disturbed < 0.01)
    lost = sum(row["images lost"] for row in rows)
    result.target("images lost", lost, is_met=lost == 0)
    result.notes.append(
        f"{LATENCY_MS:g} ms for a call, and smaller quotas than a Region has by default: so little that two cores,"
        f" which also run S3 and SQS, are not the limit. Counted from {WARM_SECONDS:g} s after the first message until"
        " the last is taken."
    )
    return result
