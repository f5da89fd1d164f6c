"""What happens after the upload on the local stack: see every image to its end, and say what came of it."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from batch_vision.core.chunks import LIVE, chunks_prefix, images_in
from batch_vision.core.names import result_key
from batch_vision.core.scope import Scope, why_out_of_scope
from batch_vision.operator import cost, runs
from batch_vision.operator.prices import in_words, model_dollars
from local.emulator.models import MODELS
from local.environment import OFF_STATUSES
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from batch_vision.operator.display import Display, Step
    from local.environment import Environment
    from local.images import Results

_POLL_SECONDS = 0.5
_LONGEST_RUN_SECONDS = 6 * 3600
# Beyond the time for which a message that was received is hidden, and comes back.
_STALL_SECONDS = 60.0

# Where the emulator counts the images of each analysis: an operation, and the feature of it that is an analysis.
_ANALYSES = {
    "labels": ("DetectLabels", "GENERAL_LABELS"),
    "image_properties": ("DetectLabels", "IMAGE_PROPERTIES"),
    "text": ("DetectText", None),
    "faces": ("DetectFaces", None),
    "moderation": ("DetectModerationLabels", None),
    "celebrities": ("RecognizeCelebrities", None),
    "protective_equipment": ("DetectProtectiveEquipment", None),
}


def in_scope(environment: Environment, keys: Collection[str]) -> list[str]:
    """Return the uploaded keys that are to have a result: all, but in an existing bucket those that the scope takes."""
    if not environment.images_bucket:
        return [*keys]
    described = environment.client("lambda").get_function_configuration(
        FunctionName=environment.output("analyze_images_function_name")
    )
    suffixes = json.loads(described["Environment"]["Variables"]["IMAGE_SUFFIXES"])
    scope = Scope((environment.source_prefix,), tuple(suffixes))
    # No file is empty and named like a folder.
    return [key for key in keys if why_out_of_scope(key, 1, scope) is None]


def run(environment: Environment, keys: Sequence[str], step: Step) -> dict[str, Any]:
    """Start an execution, show its progress until it ends, and return Step Functions' description of it.

    Parameters
    ----------
    keys
        The images that were uploaded.

    Raises
    ------
    LocalError
        It did not end within six hours; it was stopped.
    """
    if environment.images_bucket:
        _wait_until_collected(environment, keys, step)
    workflow = environment.client("stepfunctions")
    arn = workflow.start_execution(
        stateMachineArn=environment.output("state_machine_arn"), name=f"local-run-{uuid.uuid4()}"
    )["executionArn"]
    deadline = time.monotonic() + _LONGEST_RUN_SECONDS
    position = None
    unit_hour_dollars = environment.unit_hour_dollars()
    while True:
        described: dict[str, Any] = workflow.describe_execution(executionArn=arn)
        if described["status"] != "RUNNING":
            return described
        if time.monotonic() > deadline:
            workflow.stop_execution(executionArn=arn)
            raise LocalError(f"The run did not end within {_LONGEST_RUN_SECONDS // 3600} hours and was stopped.")
        position = runs.position(workflow, arn, position)
        model = environment.model()
        dollars = model_dollars(model["billed_unit_seconds"], unit_hour_dollars)
        step.progress(
            max(0, len(keys) - _count_left(environment, keys)),
            len(keys),
            f"{position.phase}, model {model['status']}, cost so far ${dollars:.4f}",
        )
        time.sleep(_POLL_SECONDS)


def wait(environment: Environment, keys: Sequence[str], step: Step) -> None:
    """Show the progress of a managed model until every image has its end, or nothing moves any more.

    Parameters
    ----------
    keys
        The images that were uploaded.
    """
    queue = environment.client("sqs").get_queue_attributes(
        QueueUrl=environment.output("queue_url"), AttributeNames=["VisibilityTimeout"]
    )
    longest_seconds = int(queue["Attributes"]["VisibilityTimeout"]) + _STALL_SECONDS
    left, moved_at_seconds = -1, time.monotonic()
    while True:
        last, left = left, _count_left(environment, keys)
        stuck = sum(1 for _ in listed(environment, environment.output("final_bucket_name"), "stuck/"))
        if left <= stuck:
            return
        if left != last:
            moved_at_seconds = time.monotonic()
        elif time.monotonic() - moved_at_seconds > longest_seconds:
            return
        operations = environment.emulator.state()["operations"]
        refused = sum(counted["throttled"] for counted in operations.values())
        dollars = sum(dollars_by_analysis(operations).values())
        step.progress(len(keys) - left, len(keys), f"{refused} calls refused, cost so far ${dollars:.4f}")
        time.sleep(_POLL_SECONDS)


def dollars_by_analysis(operations: Mapping[str, Any]) -> dict[str, float]:
    """Return what the images of each analysis would cost on AWS, by the counters of the emulator's state."""
    images = {
        analysis: operations[operation]["images_by_feature"][feature] if feature else operations[operation]["images"]
        for analysis, (operation, feature) in _ANALYSES.items()
    }
    return {analysis: amount for analysis, amount in cost.dollars_by_analysis(images).items() if amount}


def report(
    display: Display,
    environment: Environment,
    described: dict[str, Any] | None,
    results: Results,
    images: int,
    out: Path,
) -> bool:
    """Print what was done, and return whether every image has its end and no model is on.

    Parameters
    ----------
    described
        Step Functions' description of the run of a hosted model; None for a managed model, which has none.
    images
        How many images are to have a result.
    """
    processed, rejected, failed = (results.count(status) for status in ("processed", "rejected", "failed"))
    lines = {
        "images processed": f"{processed} of {images}",
        "images rejected": f"{rejected}{counted(results.by_reason('rejected'))}",
    }
    problems = [f"{key}: {why}" for key, why in results.failed.items()]
    if described is None:
        lines |= _managed_lines(environment, results)
    else:
        lines |= _hosted_lines(environment, described, results, processed)
        if described["status"] != "SUCCEEDED":
            problems.append(f"the run {described['status']}: {described.get('error', '')} {described.get('cause', '')}")
        status = environment.model()["status"]
        if status not in OFF_STATUSES:
            problems.append(f"the model is {status}")
    display.say("")
    for name, text in (lines | {"results": str(out)}).items():
        display.say(f"{name:<28}{text}")

    if missing := images - processed - rejected - failed:
        problems.append(f"{missing} images have no result; they are still in {environment.bucket_name}")
    for result in results.results:
        if result["status"] == "failed":
            error = result["error"]
            remedy = error.get("remedy", "")
            problems.append(f"{result['source']['key']} failed, {error['type']}: {error['message']} {remedy}".rstrip())
    for key, path in results.renamed.items():
        display.say(f"- {key} is {path} in {out}: its own name is taken, or is none on a disk")
    for problem in problems:
        display.mark(problem, is_good=False)
    if not problems:
        display.mark("every image has its end" + (", the model is stopped" if described else ""), is_good=True)
    return not problems


def _hosted_lines(
    environment: Environment, described: dict[str, Any], results: Results, processed: int
) -> dict[str, str]:
    model = environment.model()
    summary = json.loads(described["output"]) if described.get("output") else {}
    agreeing, named = results.agreement(model["labels"])
    billed = model["billed_unit_seconds"]
    settings = environment.emulator.state()["settings"]
    lines = {"predictions by label": counted(results.by_label()).strip(" ()") or "none"}
    if results.anomalous() is not None:
        lines["images with an anomaly"] = f"{results.anomalous()} of {processed}"
    if named:
        lines["label is the folder's name"] = f"{agreeing} of {named}"
    if summary.get("model_on_seconds") is not None:
        lines["model on"] = f"{summary['model_on_seconds']:.0f} s, from the request to start to the confirmed stop"
    unit_hour_dollars = environment.unit_hour_dollars()
    price = f"${unit_hour_dollars:.2f} an hour for each inference unit"
    takes = MODELS[environment.backend or ""].start_takes
    times = f"a start takes {settings['start_seconds']:g} s here, {takes} there"
    return lines | {
        "billed": f"{billed:.0f} inference-unit seconds ({model['starts']} start, {model['stops']} stop)",
        "would cost on AWS": f"{in_words(billed, environment.backend or '', unit_hour_dollars)}, at {price} ({times})",
    }


def _managed_lines(environment: Environment, results: Results) -> dict[str, str]:
    operations = environment.emulator.state()["operations"]
    calls = sum(counted["calls"] for counted in operations.values())
    refused = sum(counted["throttled"] for counted in operations.values())
    dollars = dollars_by_analysis(operations)
    each = ", ".join(f"{analysis} ${amount:.4f}" for analysis, amount in dollars.items())
    lines = {"predictions by kind": counted(results.by_kind()).strip(" ()") or "none"}
    if refusals := results.refused_analyses():
        lines["analyses refused"] = counted(refusals).strip(" ()")
    return lines | {
        "calls": f"{calls}, and {refused} refused for the quota",
        "would cost on AWS": f"${sum(dollars.values()):.4f}{f' ({each})' if each else ''}",
    }


def _wait_until_collected(environment: Environment, keys: Sequence[str], step: Step) -> None:
    """Wait until what the events told of waits for a run; not for ever, because the run goes by what there is."""
    wanted, last, moved_at_seconds = len(keys), -1, time.monotonic()
    while True:
        chunks = listed(environment, environment.output("final_bucket_name"), chunks_prefix(LIVE))
        collected = sum(images_in(key) or 0 for key in chunks)
        if collected >= wanted:
            return
        if collected != last:
            last, moved_at_seconds = collected, time.monotonic()
        elif time.monotonic() - moved_at_seconds > _STALL_SECONDS:
            return
        step.progress(0, wanted, f"collecting changes, {collected} of {wanted}")
        time.sleep(_POLL_SECONDS)


def _count_left(environment: Environment, keys: Sequence[str]) -> int:
    """Count the images without an end: those still in a drop-off bucket, or those of another without a result."""
    if not environment.images_bucket:
        return sum(1 for _ in listed(environment, environment.bucket_name))
    final = environment.output("final_bucket_name")
    there = {*listed(environment, final, "results/"), *listed(environment, final, "results-long/")}
    return sum(result_key(key) not in there for key in keys)


def listed(environment: Environment, bucket: str, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a bucket."""
    pages = environment.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return (entry["Key"] for page in pages for entry in page.get("Contents", []))


def counted(counts: Any) -> str:
    """Say how many there are of each."""
    return f" ({', '.join(f'{name} {number}' for name, number in sorted(counts.items()))})" if counts else ""
