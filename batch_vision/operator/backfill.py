"""Backfills of an existing bucket: started, watched, paused and ended.

Only S3 and Step Functions know of them. A job is what ``jobs/<job>/job.json`` says; it is over when it has a summary,
``backfills/<job>.json``; between the two it is carried on by executions, of which each goes on where the one before
ended. So a pause ends an execution, and nothing else.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

from batch_vision.aws.chunks import count_left
from batch_vision.aws.executions import list_running, stop_execution
from batch_vision.aws.objects import found, list_entries, put_if
from batch_vision.core.backfills import (
    SUMMARIES,
    Job,
    Left,
    Phase,
    Plan,
    Source,
    cancelled_key,
    concurrency_body,
    concurrency_key,
    job_key,
    plan_key,
    summary_key,
    summary_of,
)
from batch_vision.core.chunks import chunks_prefix
from batch_vision.core.errors import read_error
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator.cost import dollars_by_analysis
from batch_vision.operator.errors import OperatorError, WrongInputError
from batch_vision.operator.text import shown_number
from batch_vision.operator.watch import Rate, shown_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from batch_vision.operator.stack import Stack

_JOB = re.compile(r"[A-Za-z0-9_-]{1,80}")  # as executions are named, for some have the name of one
_JOBS = "jobs/"
# A planner whose execution was stopped is found out at its next checkpoint; it writes one every 30 s.
_PLANNER_SECONDS = 40.0
_RATE_SPAN_SECONDS = 600.0  # an image is only seen to be done when all of its chunk are
_COUNT_AGAIN_SECONDS = 30.0
_FEW_CHUNKS = 1000
_DELETED_AT_ONCE = 1000
_MOST_NAMES = 10
# How long `status` tells of a backfill that did not end well.
LATELY = timedelta(days=7)
BAD_OUTCOMES = ("failed", "incomplete")


@dataclass(frozen=True, slots=True)
class Backfill:
    """How a job is.

    Attributes
    ----------
    state
        ``running``; ``paused``, until it is resumed; ``broken_off``, an execution that ended without a summary; or the
        outcome of the summary when it is over.
    execution_arn
        Of its latest execution; empty where it has none.
    counts
        What its plan says, see `core.backfills.Plan`, with ``left_out``; empty before the planner has told of any.
    error
        ``type`` and ``message`` of what it ended with.
    """

    job: str
    state: str
    execution_arn: str
    asked: Job | None
    phase: Phase | None
    counts: dict[str, Any]
    left: Left
    summary: dict[str, Any] | None
    error: dict[str, str] | None

    @property
    def is_running(self) -> bool:
        """Whether an execution carries it on."""
        return self.state == "running"

    @property
    def is_over(self) -> bool:
        """Whether it ended, well or not."""
        return self.summary is not None and not self.is_running

    @property
    def is_good(self) -> bool:
        """Whether it is well, or ended well."""
        return self.state not in (*BAD_OUTCOMES, "broken_off")

    @property
    def done_images(self) -> int:
        """Images that are off its chunks."""
        return max(0, int(self.counts.get("planned", 0)) - self.left.images)

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {
            "job": self.job,
            "state": self.state,
            "execution_arn": self.execution_arn or None,
            "request": self.asked and self.asked.to_json(),
            "phase": self.phase,
            "counts": self.counts,
            "left_images": self.left.images,
            "left_chunks": self.left.chunks,
            "error": self.error,
            "summary": self.summary,
        }


_ACTIONS = ("status", "pause", "resume", "cancel")
_SOURCES = ("prefix", "inventory", "list")
_OF_A_START = (*_SOURCES, "deep", "yes")
# What may stand beside an action, besides what may stand beside each.
_BESIDE = {"status": ("watch",), "resume": ("watch", "concurrency")}


def action_of(given: Collection[str]) -> str:
    """Return what ``batch-vision backfill`` is to do: ``start``, ``concurrency`` or the name of an action's option.

    Parameters
    ----------
    given
        The names of the options that were given.

    Raises
    ------
    WrongInputError
        Options that exclude one another, or one that is missing.
    """
    actions = [name for name in _ACTIONS if name in given]
    if len(actions) > 1:
        raise WrongInputError(f"Both --{actions[0]} and --{actions[1]} are given. Give one of them at a time.")
    if actions:
        (action,) = actions
        for name in (*_OF_A_START, "watch", "concurrency"):
            if name in given and name not in _BESIDE.get(action, ()):
                raise WrongInputError(
                    f"Both --{action} and --{name} are given, and --{name} is not for a backfill that there is. Leave"
                    " one of them out."
                )
        return action
    if "concurrency" in given and "watch" not in given and not {*_OF_A_START} & {*given}:
        return "concurrency"
    if "job" in given:
        raise WrongInputError(
            "--job names a backfill that there is. Add --status, --pause, --resume, --cancel or --concurrency, or leave"
            " --job out."
        )
    sources = [name for name in _SOURCES if name in given]
    if len(sources) > 1:
        raise WrongInputError(f"Both --{sources[0]} and --{sources[1]} are given. Give one source of keys at a time.")
    if "deep" in given and sources not in ([], ["prefix"]):
        raise WrongInputError(
            f"Both --{sources[0]} and --deep are given, and each key of a list is looked at anyway. Leave --deep out."
        )
    return "start"


def check_supported(stack: Stack) -> None:
    """Check that a stack can have backfills.

    Raises
    ------
    WrongInputError
        It has a drop-off bucket.
    OperatorError
        It was applied with a module that made none.
    """
    if not stack.has_images:
        raise WrongInputError(
            f"Stack {stack.name} has videos only, and this is about images. For videos: batch-vision backfill --videos"
        )
    if stack.is_drop_off:
        raise WrongInputError(
            f"Stack {stack.name} has a drop-off bucket, {stack.source_bucket_name}: every image in it is analyzed"
            " anyhow, so there is nothing to backfill. Images of another bucket: upload them to it (batch-vision"
            " upload), or apply a stack with images_bucket_name."
        )
    try:
        stack.workflow.describe_state_machine(stateMachineArn=stack.backfill_state_machine_arn)
    except stack.workflow.exceptions.StateMachineDoesNotExist as error:
        name = stack.backfill_state_machine_arn.rpartition(":")[2]
        raise OperatorError(
            f"Stack {stack.name} has no state machine {name}: it was applied with an older version of the module. Apply"
            " it again."
        ) from error


def check_none_runs(stack: Stack) -> None:
    """Check that no backfill runs.

    Raises
    ------
    OperatorError
        One does; the message names it, and says what to do.
    """
    if running := running_jobs(stack):
        raise OperatorError(
            f"Backfill {running[0]} is under way, and there is one at a time. See how far it is: batch-vision backfill"
            " --status. To have another one instead: batch-vision backfill --pause, or --cancel."
        )


def running_jobs(stack: Stack) -> list[str]:
    """List the jobs that executions carry on, the one that began last first."""
    arns = list_running(stack.workflow, stack.backfill_state_machine_arn)
    return list(dict.fromkeys(_job_of(stack, arn) for arn in arns))


def _job_of(stack: Stack, execution_arn: str) -> str:
    """Return the job of an execution: its input names it, or its own name is that of the job."""
    described: Any = stack.workflow.describe_execution(executionArn=execution_arn)
    try:
        return str(json.loads(described["input"])["job"])
    except (KeyError, TypeError, ValueError):
        return str(described["name"])


def current_job(stack: Stack) -> str | None:
    """Return the latest job that is not over; None where there is none."""
    if running := running_jobs(stack):
        return running[0]
    over = {key for key, _ in _summaries(stack)}
    waiting = [job for job in _jobs(stack) if summary_key(job) not in over]
    began = [(head["LastModified"], job) for job in waiting if (head := _head(stack, job_key(job)))]
    return max(began)[1] if began else None


def latest_over(stack: Stack) -> str | None:
    """Return the job that was over last; None where there is none."""
    if not (summaries := [(at, key) for key, at in _summaries(stack)]):
        return None
    return _job_of_summary(max(summaries)[1])


def named_job(stack: Stack, job: str | None, *, may_be_over: bool = False) -> str:
    """Return the job that is meant: the one that is named, or else the latest that is not over.

    Parameters
    ----------
    may_be_over
        Whether the latest that is over will do where no other one is there.

    Raises
    ------
    WrongInputError
        There is none of that name, or all are over.
    """
    if job is None:
        if current := current_job(stack):
            return current
        last = latest_over(stack)
        if last and may_be_over:
            return last
        more = (
            f" The last one was {last}; to name it: --job {last}." if last else " To start one: batch-vision backfill"
        )
        raise WrongInputError(f"No backfill of stack {stack.name} is under way or paused.{more}")
    if not _JOB.fullmatch(job) or not (_head(stack, job_key(job)) or _head(stack, summary_key(job))):
        known = _jobs(stack)[-_MOST_NAMES:]
        shown = f"Its jobs: {', '.join(known)}." if known else "It has none yet."
        raise WrongInputError(f"--job is {job!r}, and stack {stack.name} has no backfill of that name. {shown}")
    return job


def look(stack: Stack, job: str) -> Backfill:
    """Look at a job; it changes nothing."""
    execution = next(iter(_executions(stack, job)), None)
    asked, plan, summary = _asked(stack, job), _plan(stack, job), _read(stack, summary_key(job))
    counts = plan.told() if plan else dict((summary or {}).get("counts") or {})
    state, error = _state(stack, execution, summary)
    return Backfill(
        job=job,
        state=state,
        execution_arn=execution["executionArn"] if execution else "",
        asked=asked,
        phase=plan.phase if plan else None,
        counts=counts,
        left=_left(stack, job),
        summary=summary,
        error=error,
    )


def _state(stack: Stack, execution: Any, summary: dict[str, Any] | None) -> tuple[str, dict[str, str] | None]:
    status = execution["status"] if execution else ""
    if status == "RUNNING":
        return "running", None
    if summary:
        return str(summary.get("outcome") or "unknown"), summary.get("error")
    if status in ("", "ABORTED"):
        return "paused", None
    described: Any = stack.workflow.describe_execution(executionArn=execution["executionArn"])
    told = {"Error": described.get("error") or status, "Cause": described.get("cause") or ""}
    return "broken_off", read_error(told)


# What is done to a job.


def start(
    stack: Stack,
    source: Source,
    max_concurrency: int,
    *,
    is_deep: bool = False,
    removes_orphans: bool = False,
    job: str | None = None,
) -> Backfill:
    """Write a job down and start its first execution.

    Parameters
    ----------
    source
        Where its keys are from; the files of a list are copied already.
    job
        Its name, see `new_job`; None for a new one.
    """
    wanted = Job(
        id=job or new_job(),
        created_at=to_text(utc_now()),
        source=source,
        is_deep=is_deep,
        removes_orphans=removes_orphans,
    )
    stack.s3.put_object(
        Bucket=stack.final_bucket_name,
        Key=job_key(wanted.id),
        Body=json.dumps(wanted.to_json()).encode(),
        ContentType="application/json",
        IfNoneMatch="*",
    )
    _start_execution(stack, wanted.id, 1, max_concurrency)
    return look(stack, wanted.id)


def new_job() -> str:
    """Return a name for a job."""
    return f"{utc_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def pause(stack: Stack, job: str) -> None:
    """End the execution of a job; its chunks stay.

    Raises
    ------
    OperatorError
        None runs.
    """
    if not _stop(stack, job, "BackfillPaused", "batch-vision backfill --pause"):
        raise OperatorError(
            f"Backfill {job} is not running, so there is nothing to pause. See how it is: batch-vision backfill"
            f" --status --job {job}"
        )


def resume(stack: Stack, job: str, max_concurrency: int, progress: Callable[[str], None]) -> Backfill:
    """Start another execution of a job, which goes on where the last one ended.

    Parameters
    ----------
    progress
        Told what is waited for.

    Raises
    ------
    OperatorError
        A backfill runs, or the job has nothing left to do.
    """
    check_none_runs(stack)
    at = look(stack, job)
    if at.state == "cancelled":
        raise OperatorError(f"Backfill {job} was cancelled, and its chunks are deleted. Start another one.")
    if at.state in ("succeeded", "planned"):
        goes_on = " What it planned waits for the runs of the model: batch-vision run --watch" if at.left.chunks else ""
        raise OperatorError(f"Backfill {job} {at.state}: there is nothing to resume.{goes_on}")
    earlier = _executions(stack, job)
    _wait_for_calls(stack, earlier, progress)
    names = [entry["name"].removeprefix(f"{job}-") for entry in earlier]
    number = 1 + max((int(name) for name in names if name.isascii() and name.isdigit()), default=0)
    _start_execution(stack, job, number, max_concurrency)
    return look(stack, job)


def _wait_for_calls(stack: Stack, executions: list[Any], progress: Callable[[str], None]) -> None:
    """Wait for calls that were under way when an execution ended: others beside them would pay for the same images.

    Step Functions does not end a function that it has called.
    """
    ended = max((entry["stopDate"] for entry in executions if entry.get("stopDate")), default=None)
    if stack.is_hosted or ended is None:
        return
    configuration = stack.functions.get_function_configuration(FunctionName=f"{stack.name}-work-off-chunk")
    left_seconds = configuration["Timeout"] - (utc_now() - ended).total_seconds()
    if left_seconds > 0:
        progress(f"waiting for calls that were under way when it stopped: {left_seconds:.0f} s at the most")
        time.sleep(left_seconds)


def cancel(stack: Stack, job: str, progress: Callable[[int, str], None]) -> int:
    """End a job for good: stop it, delete its chunks, and sum it up where nobody has; return the images given up.

    Parameters
    ----------
    progress
        Told how many chunks are deleted, and what is waited for.

    Raises
    ------
    OperatorError
        It is over, and has no chunk left.
    """
    is_stopped = _stop(stack, job, "BackfillCancelled", "batch-vision backfill --cancel")
    summary, plan, left = (
        _read(stack, summary_key(job)),
        _plan(stack, job),
        _left(stack, job),
    )
    if summary and not is_stopped and not left.chunks:
        raise OperatorError(f"Backfill {job} is over ({summary.get('outcome')}), and none of its chunks is left.")
    if is_stopped and (plan is None or plan.phase is not Phase.DONE):
        _fence_planner(stack, job, plan or Plan(Phase.CHECK))
        progress(0, "waiting for the planner's last call")
        time.sleep(_PLANNER_SECONDS)
        left = _left(stack, job)
    stack.s3.put_object(
        Bucket=stack.final_bucket_name, Key=cancelled_key(job), Body=b"{}", ContentType="application/json"
    )
    _delete_chunks(stack, job, lambda done: progress(done, ""))
    if not summary:
        _write_cancelled(stack, job, plan or Plan(), left)
    return left.images


def set_concurrency(stack: Stack, job: str, max_concurrency: int) -> int | None:
    """Change how many chunks a job works on at a time, until its execution ends.

    Returns
    -------
    int or None
        For how many of its map runs that was done at once; None where nothing was done, for no execution runs.
    """
    execution = next((entry for entry in _executions(stack, job) if entry["status"] == "RUNNING"), None)
    if execution is None:
        return None
    # First, so that a round that begins meanwhile reads it.
    stack.s3.put_object(
        Bucket=stack.final_bucket_name,
        Key=concurrency_key(job),
        Body=concurrency_body(execution["name"], max_concurrency),
        ContentType="application/json",
    )
    arns = [run["mapRunArn"] for run in _map_runs(stack, execution["executionArn"])]
    for arn in arns:
        stack.workflow.update_map_run(mapRunArn=arn, maxConcurrency=max_concurrency)
    return len(arns)


def _map_runs(stack: Stack, execution_arn: str) -> Iterator[Any]:
    """Yield the map runs of an execution that have not ended."""
    for page in stack.workflow.get_paginator("list_map_runs").paginate(executionArn=execution_arn):
        yield from (run for run in page.get("mapRuns", []) if not run.get("stopDate"))


def _start_execution(stack: Stack, job: str, number: int, max_concurrency: int) -> None:
    stack.workflow.start_execution(
        stateMachineArn=stack.backfill_state_machine_arn,
        name=f"{job}-{number}",
        input=json.dumps({"job": job, "max_concurrency": max_concurrency}),
    )


def _stop(stack: Stack, job: str, error: str, cause: str) -> bool:
    running = [entry for entry in _executions(stack, job) if entry["status"] == "RUNNING"]
    for entry in running:
        stop_execution(stack.workflow, entry["executionArn"], error, cause)
    return bool(running)


def _fence_planner(stack: Stack, job: str, plan: Plan) -> None:
    """Write the plan anew: a planner that is at work writes its own on the condition that it is as it left it."""
    body = plan.body(to_text(utc_now()))
    stack.s3.put_object(Bucket=stack.final_bucket_name, Key=plan_key(job), Body=body, ContentType="application/json")


def _delete_chunks(stack: Stack, job: str, progress: Callable[[int], None]) -> None:
    done = 0
    entries = list_entries(stack.s3, stack.final_bucket_name, chunks_prefix(job))
    for keys in batched((entry["Key"] for entry in entries), _DELETED_AT_ONCE, strict=False):
        answer = stack.s3.delete_objects(
            Bucket=stack.final_bucket_name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        if errors := answer.get("Errors"):
            raise OperatorError(
                f"{shown_number(len(errors), 'chunk')} of backfill {job} cannot be deleted"
                f" ({errors[0].get('Code')}: {errors[0].get('Message')}). It is stopped; call it again with --job {job}"
                " when you may delete them."
            )
        done += len(keys)
        progress(done)


def _write_cancelled(stack: Stack, job: str, plan: Plan, left: Left) -> None:
    asked = _asked(stack, job)
    body = summary_of(
        job, asked.to_json() if asked else None, plan, left, outcome="cancelled", ended_at=to_text(utc_now())
    )
    place = {"Bucket": stack.final_bucket_name, "Key": summary_key(job)}
    # Not where it ended meanwhile.
    put_if(stack.s3, **place, Body=body, ContentType="application/json", IfNoneMatch="*")


# Watching.


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    images_per_second
        Of the last ten minutes; None until there is something to tell.
    cost_dollars
        Of the images that are done, at most: those whose result was up to date cost no call. None for a hosted model.
    """

    phase: str
    planned: int
    left: int
    images_per_second: float | None
    cost_dollars: float | None

    @property
    def done(self) -> int:
        """Images that are done."""
        return max(0, self.planned - self.left)

    @property
    def seconds_left(self) -> float | None:
        """How long the images that are left will take; None when there is no telling."""
        return self.left / self.images_per_second if self.images_per_second and self.left else None

    def __str__(self) -> str:
        parts = [self.phase, f"{self.planned:,} planned", f"{self.left:,} left"]
        if self.images_per_second:
            parts.append(f"{self.images_per_second:.1f} a second")
        if self.seconds_left is not None:
            parts.append(f"{shown_seconds(self.seconds_left)} left")
        if self.cost_dollars is not None:
            parts.append(f"cost up to ${self.cost_dollars:,.2f}")
        return ", ".join(parts)


class Watcher:
    """Looks at one job that runs."""

    def __init__(self, stack: Stack, job: str) -> None:
        self._stack, self._job = stack, job
        self._left: Left | None = None
        self._counted_at = 0.0
        self._rate = Rate(_RATE_SPAN_SECONDS)

    def look(self) -> Progress:
        """Look once."""
        plan, left = _plan(self._stack, self._job), self._count_left()
        planned = plan.counts["planned"] if plan else 0
        # Chunks are written before the plan says so.
        done = max(0, planned - left.images) if plan and plan.phase is Phase.DONE else 0
        return Progress(
            phase=self._phase(plan),
            planned=planned,
            left=left.images,
            images_per_second=self._rate.after(done),
            cost_dollars=None if self._stack.is_hosted else self._dollars(done),
        )

    def _dollars(self, images: int) -> float:
        return sum(dollars_by_analysis(dict.fromkeys(self._stack.analyses, images)).values())

    def _phase(self, plan: Plan | None) -> str:
        if plan is None:
            return "starting"
        if plan.phase is Phase.CHECK:
            return f"checking the list, {shown_number(plan.counts['listed'], 'row')}"
        if plan.phase is Phase.PLAN:
            return f"planning, {plan.counts['listed']:,} looked at"
        return "summing up" if self._stack.is_hosted else "analyzing images"

    def _count_left(self) -> Left:
        now = time.monotonic()
        is_small = self._left is not None and self._left.chunks < _FEW_CHUNKS
        if self._left is None or is_small or now - self._counted_at >= _COUNT_AGAIN_SECONDS:
            self._left, self._counted_at = _left(self._stack, self._job), now
        return self._left


def watch(stack: Stack, job: str, show: Callable[[Progress], None], poll_seconds: float) -> Backfill:
    """Show how far a job is until no execution carries it on, and return how it is then."""
    watcher = Watcher(stack, job)
    execution = next(iter(_executions(stack, job)), None)
    while execution and execution["status"] == "RUNNING":
        show(watcher.look())
        time.sleep(poll_seconds)
        described = stack.workflow.describe_execution(executionArn=execution["executionArn"])
        execution = {**execution, "status": described["status"]}
    return look(stack, job)


# For `batch-vision status`.


def lately(stack: Stack) -> Backfill | None:
    """Return the backfill that is under way, or one that lately did not end well; None where there is neither."""
    if running := running_jobs(stack):
        return look(stack, running[0])
    at, key = max(((at, key) for key, at in _summaries(stack)), default=(None, ""))
    if at is None or at < utc_now() - LATELY:
        return None
    last = look(stack, _job_of_summary(key))
    return last if last.state in BAD_OUTCOMES else None


# What S3 and Step Functions say.


def _executions(stack: Stack, job: str) -> list[Any]:
    """List the executions of a job, the newest first."""
    pages = stack.workflow.get_paginator("list_executions").paginate(stateMachineArn=stack.backfill_state_machine_arn)
    return [entry for page in pages for entry in page["executions"] if _is_of(job, entry["name"])]


def _is_of(job: str, execution: str) -> bool:
    number = execution.removeprefix(f"{job}-")
    return execution == job or (number != execution and number.isascii() and number.isdigit())


def _left(stack: Stack, job: str) -> Left:
    return count_left(stack.s3, stack.final_bucket_name, job)


def _asked(stack: Stack, job: str) -> Job | None:
    try:
        return Job.from_json(_read(stack, job_key(job)) or {})
    except (KeyError, TypeError, ValueError):
        return None


def _plan(stack: Stack, job: str) -> Plan | None:
    answer = found(stack.s3.get_object, Bucket=stack.final_bucket_name, Key=plan_key(job))
    if not answer:
        return None
    try:
        return Plan.from_body(answer["Body"].read())
    except (KeyError, RecursionError, TypeError, ValueError):
        return None  # of a version of the planner that this tool does not know


def _read(stack: Stack, key: str) -> dict[str, Any] | None:
    answer = found(stack.s3.get_object, Bucket=stack.final_bucket_name, Key=key)
    if not answer:
        return None
    try:
        content = json.loads(answer["Body"].read())
    except (RecursionError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _head(stack: Stack, key: str) -> Any:
    return found(stack.s3.head_object, Bucket=stack.final_bucket_name, Key=key)


def _jobs(stack: Stack) -> list[str]:
    pages = stack.s3.get_paginator("list_objects_v2").paginate(
        Bucket=stack.final_bucket_name, Prefix=_JOBS, Delimiter="/"
    )
    folders = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", [])]
    return [folder.removeprefix(_JOBS).rstrip("/") for folder in folders]


def _summaries(stack: Stack) -> list[tuple[str, Any]]:
    """List the keys of the summaries, and when each was written."""
    entries = list_entries(stack.s3, stack.final_bucket_name, SUMMARIES)
    return [(entry["Key"], entry["LastModified"]) for entry in entries]


def _job_of_summary(key: str) -> str:
    return key.removeprefix(SUMMARIES).removesuffix(".json")
