"""Every fault that batch-vision must bear, what must happen then, and the tests that show it.

The rows stand here. Which tests show a row is said by the tests themselves, by `@pytest.mark.fault("Group: fault")`.
`python -m tests.fault_matrix` writes the table into docs/reliability.md; tests/unit/test_fault_matrix.py fails when a
row has no test, a mark has no row, or the document is not what would be written.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- table: python -m tests.fault_matrix -->\n", "<!-- end of table -->\n"

NEXT_RUN = "nothing is lost, the model is off, the next run does it"

ROWS = {
    "Starting": {
        "throttled three times": "the call is repeated; one start",
        "already STOPPING": "waits for the end of the stop, then starts",
        "ResourceInUse": "looks again and asks again; one start",
        "LimitExceeded": f"fails as ModelQuotaError; {NEXT_RUN}",
        "the model FAILED on the way up": f"fails as ModelFailedError; {NEXT_RUN}",
        "never RUNNING before the deadline": f"fails as ModelStartTimeoutError once it could be stopped; {NEXT_RUN}",
        "unknown model": f"fails as ModelNotFoundError; {NEXT_RUN}",
        "still training": "fails as ModelNotTrainedError at once; the images wait",
        "someone else already started it": "no second start; used, and stopped at the end",
    },
    "Mapping": {
        "still Disabling when enabled": "waits until it is Disabled, then enables it",
        "ResourceInUse": "asks again; the run goes on",
        "deleted by hand": "fails as TriggerNotFoundError with the model off; the run after `terraform apply` does it",
        "enabled by hand before the run": "images that came to a model that was off come again; the next run does them",
        "disabled by hand while a run begins": "enables it again",
    },
    "Draining": {
        "the model stopped by hand in the middle": f"fails as NoProgressError after stall_timeout_seconds; {NEXT_RUN}",
        "the model failed in the middle": f"fails as NoProgressError after stall_timeout_seconds; {NEXT_RUN}",
        "an S3 event that never came": "the object is found in the bucket and put back on the queue, once a run",
        "uploads that keep arriving": "part of the run while it drains, otherwise of the next one",
        "a message that is not JSON": "logged and removed; every image is processed",
        "an s3:TestEvent": "buys no start",
        "an event for another bucket": "logged and removed; every image is processed",
        "ten records in one message": "ten results",
        "a Lambda that crashes": "the message comes again; one result",
        "a Lambda that hangs to its timeout": "the message comes again; one result",
        "a Lambda that is slow to start": "one result",
        "a Lambda that dies half-way between writing the JSON and deleting the image": (
            "whoever gets the message next finishes it; one result, whichever step was the last"
        ),
        "a Lambda that crashes on one image every time, until the dead-letter queue has it": (
            "the others are processed; the run names the dead letters, and no later one buys a start for them alone"
        ),
        "dead letters": "fails as DeadLettersError without a start; one command brings them back",
        "no progress at all": f"fails as NoProgressError after stall_timeout_seconds; {NEXT_RUN}",
        "the batch deadline with images left": (f"what was begun is finished; fails as DrainTimeoutError; {NEXT_RUN}"),
    },
    "Finishing": {
        "images in flight while disabling": "no image is sent to a model that is off",
        "stop throttled": "asked again until the service confirms",
        "stop refused": "asked again until the service confirms; where that is not allowed, the watchdog tells",
        "stop never confirmed": "fails as ModelStopTimeoutError, mapping Disabled; watchdog and next run ask again",
    },
    "From outside": {
        "StopExecution in each phase": "the watchdog disables and stops within its bound; the next run goes on",
        "an execution that reaches its own timeout": "the watchdog disables and stops within its bound",
        "ten executions started at once": "the outcome of one: one start, one result for each image",
        "`terraform apply` in mid-run": "the run goes on to its end",
        "another model by `terraform apply` in mid-run": (
            "the run ends as BackendChangedError and stops its own model; the next one uses the new model"
        ),
        "`terraform destroy` in mid-run": "the run is stopped and the model is off, or the destroy fails and says so",
        "somebody left model and mapping on": "the next tick, or the watchdog's own schedule, ends it",
    },
    "Images": {
        "the same key uploaded twice before, during and after it is analysed": "two uploads, two results, both images",
        "the same event three times, at the same time and later": "one result",
        "deleted before its turn": "no result, no error, and nothing of it is left behind",
        "empty": "rejected with the reason",
        "truncated": "rejected with the reason",
        "right bytes with the wrong suffix and the reverse": "the bytes decide",
        "just inside and just outside every limit of size, side and aspect": "inside processed, outside rejected",
        "GIF, TIFF, WebP, animated PNG, CMYK and 16-bit": "processed or rejected with the reason",
        "a decompression bomb": "rejected with the reason; no memory is spent on it",
        "keys with every reserved and control character that S3 allows, `..`, a leading slash, a folder marker": (
            "processed under the same name, from its event and from a listing"
        ),
        "an image and an upload named like its mask, at the same moment": "both images, both results, both masks",
    },
    "Service": {
        "30% throttled, 10% internal errors, slow answers, dropped connections, together": "every image is processed",
    },
    "Soak": {
        "all of these together, over several scheduled runs, drawn from a seed": (
            "images lost 0, doubled 0, runs that left the model on 0"
        ),
    },
}


def required() -> set[str]:
    """The rows, as the marks name them."""
    return {f"{group}: {fault}" for group, faults in ROWS.items() for fault in faults}


def shown() -> dict[str, list[str]]:
    """The tests that show each row, as ``path::name``, read from their marks."""
    found = defaultdict(list)
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in (node for decorator in function.decorator_list for node in ast.walk(decorator)):
                    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                        (argument,) = node.args
                        found[ast.literal_eval(argument)].append(f"{path.relative_to(REPOSITORY)}::{function.name}")
    return dict(found)


def table() -> str:
    """The table for the document."""
    tests, lines = shown(), []
    for group, faults in ROWS.items():
        lines += [f"\n### {group}\n", "| fault | what must happen | shown by |", "| --- | --- | --- |"]
        for fault, outcome in faults.items():
            links = [
                f"[`{name}`](../{path})"
                for path, _, name in (test.partition("::") for test in tests[f"{group}: {fault}"])
            ]
            lines.append(f"| {fault} | {outcome} | {'<br>'.join(links)} |")
    return "\n".join([*lines, "", ""])


def document() -> str:
    """The whole document, with the table of now."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(document())
