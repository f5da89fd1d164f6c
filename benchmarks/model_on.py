"""How long the model is on, over the least that it can be; measured on LocalStack, and simulated beyond that."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rich.console import Console

from batch_vision.aws.catalog import read_catalog
from batch_vision.core.times import from_text
from batch_vision.operator.cost import FAST_OVERHEAD_SECONDS, OVERHEAD_MAPPING_SECONDS, OVERHEAD_SECONDS
from batch_vision.operator.display import Display
from benchmarks.report import Result
from benchmarks.simulation import (
    SAMPLE_IMAGE_SECONDS,
    Arrival,
    SimulatedRun,
    Simulation,
    World,
    bill,
    ideal_seconds,
    one_batch,
    public_sample,
    terraform_defaults,
)
from local import config, environment
from local.emulator.models import MODELS
from local.environment import MODULE_ARGUMENTS

if TYPE_CHECKING:
    from datetime import datetime

BACKEND = "rekognition_custom_labels"
SAMPLES = config.REPOSITORY / "local" / "samples"
# A start that is short, but no multiple of a poll interval; and a throughput that LocalStack's one poller can use.
EMULATED = {"start_seconds": 40, "stop_seconds": 8, "transactions_per_second_per_unit": 8, "latency_ms": 100}
MEASURED_IMAGES = (1, 100, 1000)
SIMULATED_IMAGES = (1, 100, 1_000, 10_000, 18_000, 100_000, 1_000_000)
_HOUR_OF_IMAGES = 18_000
_ENOUGH_IMAGES = 50  # for a throughput


def default_waits() -> dict[str, Any]:
    """Return the module's own defaults for what local runs shorten."""
    defaults = terraform_defaults()
    return {name: defaults[name] for name in MODULE_ARGUMENTS if name.endswith("_seconds") and name in defaults}


def measure(sizes: tuple[int, ...] = MEASURED_IMAGES, arguments: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Run the deployed workflow on LocalStack with the waits that users have, and simulate each run beside it."""
    display = Display(Console(file=io.StringIO()))
    # LocalStack has one poller, where a run asks for two: the one invocation is to have the pace of both.
    one_poller = {"images_per_second_per_unit": 2 * EMULATED["transactions_per_second_per_unit"]}
    arguments = default_waits() | one_poller | (arguments or {})
    running = environment.up(
        display,
        SAMPLES / "labelled",
        backend=BACKEND,
        dies_with_parent=True,
        arguments=arguments | {"schedule_enabled": False},
        emulator_settings=EMULATED,
    )
    try:
        return [_measured(running, images, arguments) for images in sizes]
    finally:
        environment.down()


def _measured(running: environment.Environment, images: int, arguments: dict[str, Any]) -> dict[str, Any]:
    s3, workflow = running.client("s3"), running.client("stepfunctions")
    running.emulator.reset()
    content = (SAMPLES / "pile" / "part-01.jpg").read_bytes()
    for number in range(images):
        s3.put_object(Bucket=running.output("source_bucket_name"), Key=f"{images}/{number:05d}.jpg", Body=content)
    arn = workflow.start_execution(stateMachineArn=running.output("state_machine_arn"))["executionArn"]
    while (described := workflow.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(1)
    if described["status"] != "SUCCEEDED":
        raise RuntimeError(f"The run of {images} images {described['status']}: {described.get('error')}")
    summary = json.loads(described["output"])
    model = running.emulator.model(MODELS[BACKEND].arn)
    pages = workflow.get_paginator("get_execution_history").paginate(executionArn=arn)
    events = [event for page in pages for event in page["events"]]
    entered = sum("stateEnteredEventDetails" in event for event in events)
    scheduled = [event["timestamp"] for event in events if event["type"] == "TaskScheduled"]
    ended = [event["timestamp"] for event in events if event["type"] in ("TaskSucceeded", "TaskFailed")]
    tasks = [(end - begin).total_seconds() for begin, end in zip(scheduled, ended, strict=False)]
    used = _throughput(s3, running.output("final_bucket_name"), described["startDate"])
    # LocalStack polls with one poller, and its mappings change at once.
    world = World(
        start_seconds=EMULATED["start_seconds"],
        stop_seconds=EMULATED["stop_seconds"],
        images_per_second_per_unit=EMULATED["transactions_per_second_per_unit"],
        throughput_used=min(1.0, used / EMULATED["transactions_per_second_per_unit"]) if used else 1.0,
        image_seconds=0.6,
        mapping_seconds=0.0,
        task_seconds=sum(tasks) / len(tasks),
        most_invocations=1,
    )
    variables = {name: value for name, value in arguments.items() if name in terraform_defaults()}
    simulated = one_batch(images, world, **variables)
    # What this machine could not do is no waste of the workflow's: the ideal has the throughput that there was.
    rate = world.images_per_second_per_unit * world.throughput_used
    ideal = ideal_seconds(images, replace(world, images_per_second_per_unit=rate))
    return {
        "images": images,
        "processed": summary["images_processed"],
        # Until the service has stopped it; the run's own summary counts until it has seen that.
        "model_on_seconds": EMULATED["start_seconds"] + model["billed_unit_seconds"],
        "ideal_seconds": ideal,
        "billed_seconds": model["billed_unit_seconds"],
        "events": len(events),
        "transitions": entered,
        "throttled_calls": model["throttled_calls"],
        "detect_calls": model["detect_calls"],
        "task_seconds": world.task_seconds,
        "throughput_used": world.throughput_used,
        "simulated_model_on_seconds": simulated.model_on_seconds,
        "simulated_billed_seconds": simulated.billed_unit_seconds,
        "simulated_events": simulated.history_events,
        "simulated_transitions": simulated.transitions,
    }


def _throughput(s3: Any, bucket: str, since: datetime) -> float | None:
    """Return the images a second between the first and the last that were finished; None for few images."""
    finished = sorted(from_text(line["finished_at"]) for line in read_catalog(s3, bucket, since.astimezone(UTC)))
    if len(finished) < _ENOUGH_IMAGES:
        return None
    return (len(finished) - 1) / (finished[-1] - finished[0]).total_seconds()


def measured(quick: bool = False) -> Result:
    """Part `measured`: runs on LocalStack, and how far the simulation is from them."""
    return compared(measure((1,) if quick else MEASURED_IMAGES))


def compared(found: list[dict[str, Any]]) -> Result:
    """Put measured and simulated runs side by side."""
    rows = [
        {
            "images": one["images"],
            "throughput used": one["throughput_used"],
            "model on / ideal": one["model_on_seconds"] / one["ideal_seconds"],
            "seconds over": one["model_on_seconds"] - one["ideal_seconds"],
            "simulated / measured, model on": one["simulated_model_on_seconds"] / one["model_on_seconds"],
            "simulated / measured, billed": one["simulated_billed_seconds"] / one["billed_seconds"],
            "events": one["events"],
            "simulated events": one["simulated_events"],
            "transitions": one["transitions"],
            "simulated transitions": one["simulated_transitions"],
        }
        for one in found
    ]
    result = Result("Model-on time of runs on LocalStack, and of the simulation of the same runs", rows)
    worst = max(abs(row["simulated / measured, model on"] - 1) for row in rows)
    result.target("the simulation is within 5% of the measured model-on time", worst, is_met=worst <= 0.05)
    over = max(row["seconds over"] for row in rows)
    result.target("measured: at most 120 s over the ideal", over, is_met=over <= 120)
    result.notes += [
        f"Emulated service: {json.dumps(EMULATED)}; the module's default waits.",
        "The simulation was told three things of this machine: one poller (LocalStack's), what a task of the workflow"
        f" took on average ({found[0]['task_seconds']:.2f} s in the first run), and the throughput between the first"
        " and the last finished image; the ideal has that throughput too.",
    ]
    lost = sum(one["images"] - one["processed"] for one in found)
    result.target("images lost", lost, is_met=lost == 0)
    return result


def simulated(quick: bool = False) -> Result:
    """Part `model_on`: the simulation with the service's own times, beside the public sample and always on."""
    world = World()
    used = saturated_share()
    rows, overs, used_ratios = [], [], []
    for images in SIMULATED_IMAGES[:3] if quick else SIMULATED_IMAGES:
        day = Simulation([Arrival(0, images)], world)
        runs = day.run_until_empty(3600)
        on = sum(run.model_on_seconds for run in runs)
        ideal = _ideal(runs, world)
        sample = public_sample(images, world)
        slower = Simulation([Arrival(0, images)], replace(world, throughput_used=used)).run_until_empty(3600)
        slower_on = sum(run.model_on_seconds for run in slower)
        slower_ideal = _ideal(slower, world)
        used_ratios.append((images, slower_on / slower_ideal))
        running = sum(run.running_seconds for run in runs)
        overs.append((on - ideal, len(runs), images, on / ideal))
        cost, sample_cost = bill(runs), bill([sample])
        always = -(-(on + 0.0) // 86400) * 86400  # whole days
        rows.append(
            {
                "images": images,
                "runs": len(runs),
                "units": world_units(runs),
                "until all is done, hours": (runs[-1].started_at_seconds + runs[-1].duration_seconds) / 3600,
                "model on / ideal": on / ideal,
                "seconds over, a run": (on - ideal) / len(runs),
                "model on / ideal, saturation as measured": slower_on / slower_ideal,
                "running: sample / ours": sample.running_seconds / running,
                "bill: sample / ours": sample_cost.model / cost.model,
                "same, starts billed": (sample_cost.model + sample_cost.starts) / (cost.model + cost.starts),
                "always on, whole days / ours": always * world_units(runs) / sum(r.billed_unit_seconds for r in runs),
                "events, largest run": max(run.history_events for run in runs),
            }
        )
    result = Result("Model-on time over the ideal, simulated with the module's defaults", rows)
    # A start that ends just after a look is the worst, so every second of a poll interval is tried; a queue that counts
    # done messages as in flight for a minute more; and a mapping that takes a minute for each change.
    seconds = [world.start_seconds + second for second in range(0, 31, 10 if quick else 1)]
    sizes = (1, 77) if quick else (1, 77, 500, 1111)
    exact, late, slow = (
        max(
            one_batch(images, one).model_on_seconds - ideal_seconds(images, one)
            for one in (replace(changed, start_seconds=start) for start in seconds)
            for images in sizes
        )
        for changed in (
            world,
            replace(world, count_lag_seconds=60.0),
            replace(world, mapping_seconds=float(OVERHEAD_MAPPING_SECONDS)),
        )
    )
    exact = max(exact, *(over / runs for over, runs, _, _ in overs))
    goal = "at most 120 s over the ideal, for any batch, if all throughput is used"
    result.target(goal, exact, is_met=exact <= 120)
    result.target("the same, with a queue whose counts are a minute late", late, is_met=late <= 120)
    goal = f"at most 75 s, where the mapping takes {OVERHEAD_MAPPING_SECONDS} s to be enabled, and to be disabled"
    result.target(goal, slow, is_met=slow <= 75)
    for constant, over in ((FAST_OVERHEAD_SECONDS, exact), (OVERHEAD_SECONDS, slow)):
        goal = f"the {constant} s of `batch-vision cost` are these and the stop, and 15 s more at the most"
        found = over + world.stop_seconds
        result.target(goal, found, is_met=found <= constant <= found + 15)
    ratio = max((one for *_, images, one in overs if images >= _HOUR_OF_IMAGES), default=overs[-1][-1])
    result.target(
        "at most 1.05 x the ideal for an hour of work, if all throughput is used", ratio, is_met=ratio <= 1.05
    )
    measured_ratio = max((one for images, one in used_ratios if images >= _HOUR_OF_IMAGES), default=used_ratios[-1][1])
    goal = f"the same, with the throughput that is used as measured with one unit ({used:.2f})"
    result.target(goal, measured_ratio, is_met=measured_ratio <= 1.05)
    share = 1 / rows[0]["running: sample / ours"]
    result.target("one image: held running under 1/20 of the sample's time", share, is_met=share < 1 / 20)
    events = max(row["events, largest run"] for row in rows)
    result.target("a history under 25,000 events", events, is_met=events < 25_000)
    result.notes.append(
        f"A start of {world.start_seconds:g} s, a stop of {world.stop_seconds:g} s,"
        f" {world.images_per_second_per_unit:g} images a second for a unit; the sample analyzes one image at a time,"
        f" {SAMPLE_IMAGE_SECONDS:g} s each. A batch that outlasts drain_timeout_seconds takes several runs. The"
        " ideal has the units that the run chose; the sample has one."
    )
    return result


def _ideal(runs: list[SimulatedRun], world: World) -> float:
    """Add up the ideal of some runs, each with the images and the units that it had."""
    return sum(ideal_seconds(run.images, world, run.inference_units) for run in runs)


def saturated_share() -> float:
    """Return the share of a unit's throughput that the last run of the part `saturation` found used; 1 without one."""
    file = config.BUILD / "bench" / "saturation.json"
    if not file.exists():
        return 1.0
    rows = json.loads(file.read_text())["rows"]
    return min(1.0, next(row["of the allowed throughput used"] for row in rows if row["units"] == 1))


def world_units(runs: list[Any]) -> int:
    """Return the most units that any of the runs had."""
    return max(run.inference_units for run in runs)
