"""A poller that takes messages from SQS and invokes a function as Lambda's event source mapping does.

Bounded are the invocations at the same time (MaximumConcurrency). Each invocation has a batch of its own and a process
of its own, for an execution environment of Lambda works on one invocation at a time. What the function does not name
in ``batchItemFailures`` is deleted; what it names, or a whole batch when it raises, becomes visible again when the
queue's visibility timeout is over.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

_WAIT_SECONDS = 1
_RECEIVE_LIMIT = 10  # messages that one ReceiveMessage gives


@dataclass
class Polled:
    """What happened.

    Attributes
    ----------
    requests
        Of the poller to SQS, without those that found nothing.
    """

    invocations: int = 0
    messages: int = 0
    redelivered: int = 0
    left: int = 0
    requests: int = 0
    empty_receives: int = 0
    invocation_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


def prepare(environment: dict[str, str]) -> None:
    """Make this process an execution environment of the function."""
    os.environ.update(environment)
    from lambdas.analyze_images import handler  # noqa: F401 - the cold start is not to be measured here


def invoke(event: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    """Run the real handler in this process."""
    from benchmarks.cost import Context
    from lambdas.analyze_images import handler

    began = time.monotonic()
    answer = handler.handler(event, Context(timeout_seconds))  # type: ignore[arg-type]
    return {
        "failed": [item["itemIdentifier"] for item in answer["batchItemFailures"]],
        "seconds": time.monotonic() - began,
    }


class Poller:
    """Polls until it is stopped.

    Parameters
    ----------
    environment
        Of the function's processes.
    timeout_seconds
        Of the function.
    """

    def __init__(
        self,
        sqs: Any,
        queue_url: str,
        environment: dict[str, str],
        *,
        max_concurrency: int,
        batch_size: int,
        timeout_seconds: float,
    ) -> None:
        self._sqs, self._queue_url = sqs, queue_url
        self._environment, self._concurrency = environment, max_concurrency
        self._batch_size, self._timeout_seconds = batch_size, timeout_seconds
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.polled = Polled()

    def __enter__(self) -> Poller:
        """Start the function's processes, and poll."""
        context = multiprocessing.get_context("spawn")
        # One process for each, so that an invocation finds the environment that the one before has left.
        self._processes = [
            ProcessPoolExecutor(1, mp_context=context, initializer=prepare, initargs=(self._environment,))
            for _ in range(self._concurrency)
        ]
        for begun in [process.submit(time.monotonic) for process in self._processes]:
            begun.result()
        self._threads = [threading.Thread(target=self._poll, args=(process,)) for process in self._processes]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Let the invocations end, and the processes with them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.shutdown()

    def _poll(self, process: ProcessPoolExecutor) -> None:
        while not self._ended.is_set():
            messages = self._receive()
            if not messages:
                continue
            records = [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "eventSource": "aws:sqs",
                }
                for message in messages
            ]
            failed, seconds = [message["MessageId"] for message in messages], 0.0
            try:
                answer = process.submit(invoke, {"Records": records}, self._timeout_seconds).result()
                failed, seconds = answer["failed"], answer["seconds"]
            except Exception as error:  # whatever the function raised, as Lambda does
                self.polled.errors.append(repr(error))
            done = [message for message in messages if message["MessageId"] not in failed]
            self._delete(done)
            with self._lock:
                polled = self.polled
                polled.invocations += 1
                polled.messages += len(messages)
                polled.redelivered += sum(int(m["Attributes"]["ApproximateReceiveCount"]) > 1 for m in messages)
                polled.left += len(failed)
                polled.invocation_seconds += seconds

    def _receive(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < self._batch_size:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=min(_RECEIVE_LIMIT, self._batch_size - len(found)),
                WaitTimeSeconds=0 if found else _WAIT_SECONDS,
                AttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            with self._lock:
                if messages:
                    self.polled.requests += 1
                else:
                    self.polled.empty_receives += 1
            found += messages
            if not messages:
                break
        return found

    def _delete(self, messages: list[dict[str, Any]]) -> None:
        for begin in range(0, len(messages), _RECEIVE_LIMIT):
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages[begin : begin + _RECEIVE_LIMIT])
            ]
            self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            with self._lock:
                self.polled.requests += 1
