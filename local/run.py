"""One run on the local stack: start the workflow, watch it, and say what came of it."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from batch_vision.operator import runs
from batch_vision.operator.prices import INFERENCE_UNIT_HOUR_DOLLARS, in_words, model_dollars
from local.environment import OFF_STATUSES
from local.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path

    from batch_vision.operator.display import Display, Step
    from local.environment import Environment
    from local.images import Results

_POLL_SECONDS = 0.5
_LONGEST_RUN_SECONDS = 6 * 3600


def run(environment: Environment, images: int, step: Step) -> dict[str, Any]:
    """Start an execution, show its progress until it ends, and return Step Functions' description of it.

    Raises
    ------
    LocalError
        It did not end within six hours; it was stopped.
    """
    workflow, s3 = environment.client("stepfunctions"), environment.client("s3")
    arn = workflow.start_execution(
        stateMachineArn=environment.output("state_machine_arn"), name=f"local-run-{uuid.uuid4()}"
    )["executionArn"]
    deadline = time.monotonic() + _LONGEST_RUN_SECONDS
    position = None
    while True:
        described: dict[str, Any] = workflow.describe_execution(executionArn=arn)
        if described["status"] != "RUNNING":
            return described
        if time.monotonic() > deadline:
            workflow.stop_execution(executionArn=arn)
            raise LocalError(f"The run did not end within {_LONGEST_RUN_SECONDS // 3600} hours and was stopped.")
        position = runs.position(workflow, arn, position)
        left = s3.list_objects_v2(Bucket=environment.output("source_bucket_name"))["KeyCount"]
        model = environment.model()
        cost = model_dollars(model["billed_unit_seconds"])
        step.progress(
            max(0, images - left), images, f"{position.phase}, model {model['status']}, cost so far ${cost:.4f}"
        )
        time.sleep(_POLL_SECONDS)


def report(
    display: Display, environment: Environment, described: dict[str, Any], results: Results, images: int, out: Path
) -> bool:
    """Print what the run did, and return whether every image has its end and the model is off."""
    model = environment.model()
    is_stopped = model["status"] in OFF_STATUSES
    summary = json.loads(described["output"]) if described.get("output") else {}
    processed, rejected = results.count("processed"), results.count("rejected")
    agreeing, named = results.agreement(model["labels"])
    billed = model["billed_unit_seconds"]

    settings = environment.emulator.state()["settings"]
    lines = {
        "images processed": f"{processed} of {images}",
        "images rejected": f"{rejected}{_counted(results.by_reason())}",
        "predictions by label": _counted(results.by_label()).strip(" ()") or "none",
    }
    if results.anomalous() is not None:
        lines["images with an anomaly"] = f"{results.anomalous()} of {processed}"
    if named:
        lines["label is the folder's name"] = f"{agreeing} of {named}"
    if summary.get("model_on_seconds") is not None:
        lines["model on"] = f"{summary['model_on_seconds']:.0f} s, from the request to start to the confirmed stop"
    price = f"${INFERENCE_UNIT_HOUR_DOLLARS:.2f} an hour for each inference unit"
    times = f"a start takes {settings['start_seconds']:g} s here, 10 to 30 minutes there"
    lines |= {
        "billed": f"{billed:.0f} inference-unit seconds ({model['starts']} start, {model['stops']} stop)",
        "would cost on AWS": f"{in_words(billed, environment.backend)}, at {price} ({times})",
        "results": str(out),
    }
    display.say("")
    for name, text in lines.items():
        display.say(f"{name:<28}{text}")

    problems = [f"{key}: {why}" for key, why in results.failed.items()]
    if described["status"] != "SUCCEEDED":
        problems.append(f"the run {described['status']}: {described.get('error', '')} {described.get('cause', '')}")
    if processed + rejected != images:
        problems.append(f"{images - processed - rejected} images have no result; they are still in the source bucket")
    if not is_stopped:
        problems.append(f"the model is {model['status']}")
    for key, path in results.renamed.items():
        display.say(f"- {key} is {path} in {out}: its own name is taken, or is none on a disk")
    for problem in problems:
        display.mark(problem, is_good=False)
    if not problems:
        display.mark("every image has its end, the model is stopped", is_good=True)
    return not problems


def _counted(counts: Any) -> str:
    return f" ({', '.join(f'{name} {number}' for name, number in sorted(counts.items()))})" if counts else ""
