"""How a stack is: everything that an operator looks at first, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.aws.queues import count_messages
from batch_vision.backends.contracts import ModelState, ModelStatus
from batch_vision.core.catalog import IMAGE, VIDEO
from batch_vision.core.chunks import images_in
from batch_vision.core.errors import BatchVisionError
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import runs, stuck
from batch_vision.operator.backfill import lately
from batch_vision.operator.backlog import Waiting, count_waiting, left_chunks
from batch_vision.operator.catalog import read_recent
from batch_vision.operator.images_bucket import WORKING_MAPPING, failed_lately, look_at_bucket
from batch_vision.operator.problems import Problem
from batch_vision.operator.stack import MISSING_MAPPING
from batch_vision.operator.text import shown_number
from batch_vision.operator.videos import look_at_videos

if TYPE_CHECKING:
    from batch_vision.operator.backfill import Backfill
    from batch_vision.operator.catalog import Recent
    from batch_vision.operator.images_bucket import ImagesBucket
    from batch_vision.operator.runs import Run
    from batch_vision.operator.stack import Stack
    from batch_vision.operator.videos import VideosStatus

# In these it costs money, or may do so soon.
ON = (ModelState.STARTING, ModelState.RUNNING, ModelState.UNKNOWN)
# A managed model takes an image as it comes.
_LONGEST_WAIT = timedelta(hours=2)
# As alarm_thresholds.refused_calls_percent; a managed model that is used well is refused under 2%.
_MOST_REFUSED_PERCENT = 10
_MOST_CAUSES = 3
_USELESS = (ModelState.NOT_TRAINED, ModelState.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When runs are started."""

    expression: str
    is_enabled: bool

    def __str__(self) -> str:
        return f"{self.expression}{'' if self.is_enabled else ' (disabled)'}"


@dataclass(frozen=True, slots=True)
class Status:
    """What was found.

    Attributes
    ----------
    model
        The hosted model's state, or the error of asking for it; None for a managed model, which has none.
    model_id
        What names the model; of a managed one, its analyses.
    schedule
        Of the runs of a hosted model.
    dead_letters
        By the name of the queue, see `Stack.queues`.
    left_images
        Images in chunks that no run will work off, see `left_chunks`.
    stuck
        Why images were given up, the commonest cause first.
    runs
        The latest executions, newest first.
    recent
        What was finished lately; None for a hosted model with a drop-off bucket, whose runs tell it.
    bucket
        The existing bucket.
    backfill
        The backfill that is under way, or one that lately did not end well.
    videos
        The videos; None for a stack without. Without images, all above is empty.
    """

    stack: Stack
    model: ModelStatus | BatchVisionError | None
    model_id: str
    mapping_state: str
    schedule: Schedule | None
    messages: dict[str, int]
    dead_letters: dict[str, int]
    left_images: int
    waiting: Waiting
    stuck: list[stuck.Cause]
    runs: list[Run]
    running: list[str]
    recent: Recent | None
    bucket: ImagesBucket | None
    backfill: Backfill | None
    videos: VideosStatus | None

    def problems(self) -> list[Problem]:
        """List what is wrong, the most expensive first."""
        found = [*self._model_problems(), *self._missing_mapping(), *self._queue_problems()]
        if self.videos:
            found += self.videos.problems(self.stack)
        if self.bucket:
            found += self.bucket.problems
        if self.waiting.stuck:
            found.append(self._stuck_problem())
        if self.left_images:
            found.append(
                Problem(
                    f"waiting: {shown_number(self.left_images, 'image')} for a hosted model that the stack had before",
                    "batch-vision retry",
                )
            )
        if self.bucket and self.recent and (failed := failed_lately(self.stack, self.recent, "image")):
            found.append(failed)
        found += [self._dead_letter_problem(name, number) for name, number in self.dead_letters.items() if number]
        ended = next((run for run in self.runs if run.outcome not in ("running", "another_run")), None)
        if not self.running and ended and (remedy := ended.remedy(self.stack)):
            said = f" ({ended.error['type']}: {ended.error['message']})" if ended.error else ""
            found.append(Problem(f"the last run, {ended.id}, {ended.outcome.replace('_', ' ')}{said}", remedy))
        return found

    def _dead_letter_problem(self, queue: str, number: int) -> Problem:
        if queue in ("rule", "videos_rule"):
            videos = self.stack.videos
            bucket_name = videos.bucket_name if videos and queue == "videos_rule" else self.stack.images_bucket_name
            return Problem(
                f"dead letters: {shown_number(number, 'event')} of {bucket_name} did not reach the queue",
                "Apply the module again, so that EventBridge may send to the queue and use its key, then:"
                " batch-vision retry",
            )
        role = "collect-changes" if queue == "images" and self.stack.collects_changes else "analyze-images"
        role = "register-videos" if queue == "videos" else role
        return Problem(
            f"dead letters: {shown_number(number, 'message')} failed max_receive_count times",
            f"See what failed (aws logs tail /aws/lambda/{self.stack.name}-{role} --since 1d --filter-pattern WARNING),"
            " mend it, then: batch-vision retry",
        )

    def _stuck_problem(self) -> Problem:
        counts = ", ".join(f"{cause.type} {cause.images}" for cause in self.stuck[:_MOST_CAUSES])
        remedies = dict.fromkeys(cause.remedy for cause in self.stuck[:_MOST_CAUSES] if cause.remedy)
        return Problem(
            f"stuck: {shown_number(self.waiting.stuck, 'image')} given up ({counts or '?'})",
            " ".join([*remedies, "Then: batch-vision retry"]),
        )

    def _missing_mapping(self) -> list[Problem]:
        if self.mapping_state != MISSING_MAPPING:
            return []
        return [
            Problem(
                f"the event source mapping {self.stack.event_source_mapping_uuid} is missing: no image is analyzed",
                "If somebody deleted it, apply the module again. Where the outputs are older than the last apply, write"
                " them again: terraform output -json",
            )
        ]

    def _queue_problems(self) -> list[Problem]:
        """List what keeps a managed model from images."""
        if self.stack.is_hosted or not self.stack.has_images:
            return []
        found = []
        if self.mapping_state not in (*WORKING_MAPPING, MISSING_MAPPING):
            uuid = self.stack.event_source_mapping_uuid
            found.append(
                Problem(
                    f"the event source mapping is {self.mapping_state}: no image is analyzed",
                    f"Enable it: aws lambda update-event-source-mapping --uuid {uuid} --enabled",
                )
            )
        refused_percent = self.recent and self.recent.refused_percent
        if refused_percent and refused_percent > _MOST_REFUSED_PERCENT:
            found.append(
                Problem(
                    f"refused: {refused_percent:.0f}% of the calls of the model, because there were too many",
                    "Set rekognition.quota_share_percent to what others in the account leave of the quota, or ask AWS"
                    " for a greater one and say it in rekognition.quotas. Nothing is lost.",
                )
            )
        oldest_at = self.waiting.oldest_at
        if oldest_at and utc_now() - oldest_at > _LONGEST_WAIT:
            name = self.stack.analyze_images_function_name
            found.append(
                Problem(
                    f"an image has waited since {to_text(oldest_at)}",
                    f"See what fails: aws logs tail /aws/lambda/{name} --since 3h --filter-pattern WARNING. A backlog"
                    " that only needs more time shrinks from one look to the next.",
                )
            )
        return found

    def _left_on(self) -> list[Problem]:
        if self.running:
            return []
        found = []
        if isinstance(self.model, ModelStatus) and self.model.state in ON:
            word = self.model.service_status or "in an unknown state"
            found.append(Problem(f"the model is {word}, and no run is under way", "Stop it: batch-vision stop"))
        if self.mapping_state not in ("Disabled", MISSING_MAPPING):
            found.append(
                Problem(
                    f"the event source mapping is {self.mapping_state}, and no run is under way",
                    "If it is not Disabled a minute from now: batch-vision stop",
                )
            )
        return found

    def _model_problems(self) -> list[Problem]:
        return [*self._left_on(), *self._useless_model()] if self.stack.is_hosted else []

    def _useless_model(self) -> list[Problem]:
        if self.model is None:
            return []
        if isinstance(self.model, BatchVisionError):
            return [
                Problem(
                    f"the model's state is not known ({type(self.model).__name__}: {self.model})",
                    "See that the model exists in the stack's Region, that you may describe it, and that this tool is"
                    " as new as the stack.",
                )
            ]
        said = f" ({self.model.message})" if self.model.message else ""
        if self.model.state is ModelState.FAILED:
            return [
                Problem(
                    f"the model is {self.model.service_status}{said}",
                    "The next run tries to start it. If that fails too, look at it in the console of its service.",
                )
            ]
        if self.model.state in _USELESS:
            return [
                Problem(
                    f"the model is {self.model.service_status}{said}: it cannot be started",
                    "Train it, or put another model into your tfvars and apply.",
                )
            ]
        return []

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        model: dict[str, Any] = {}
        if isinstance(self.model, BatchVisionError):
            model = {"error": {"type": type(self.model).__name__, "message": str(self.model)}}
        elif self.model:
            model = {
                "state": str(self.model.state),
                "service_status": self.model.service_status,
                "message": self.model.message,
                "inference_units": self.model.inference_units,
            }
        return {
            "stack": {"name": self.stack.name, "account_id": self.stack.account_id, "region": self.stack.region},
            "model": {"backend": self.stack.model.backend, "id": self.model_id, **model},
            "mapping": {"uuid": self.stack.event_source_mapping_uuid, "state": self.mapping_state},
            "schedule": self.schedule and {"rule": self.stack.schedule_rule_name, **asdict(self.schedule)},
            "messages": self.messages,
            "dead_letters": sum(self.dead_letters.values()),
            "waiting": {"images": self.waiting.images, "is_at_least": self.waiting.is_at_least},
            "recent": self.recent and _recent_json(self.recent),
            "images_bucket": self.bucket and self._bucket_json(self.bucket),
            "backfill": self.backfill and self.backfill.to_json(),
            "videos": self.videos and self.videos.to_json(),
            "stuck": {"images": self.waiting.stuck, "causes": [asdict(cause) for cause in self.stuck]},
            "runs": [run.to_json() for run in self.runs],
            "problems": [{"problem": found.problem, "remedy": found.remedy} for found in self.problems()],
        }

    def _bucket_json(self, bucket: ImagesBucket) -> dict[str, Any]:
        older = bucket.older_results
        return {
            "name": self.stack.images_bucket_name,
            "sends_events": bucket.sends_events,
            "older_results": older and {**asdict(older), "settings_since": to_text(older.settings_since)},
        }


def _recent_json(recent: Recent) -> dict[str, Any]:
    return {
        "since": to_text(recent.since),
        "images": len(recent.lines),
        **{f"images_{status}": len(recent.with_status(status)) for status in ("processed", "rejected", "failed")},
        "images_per_hour": recent.images_per_hour,
        "refused_percent": recent.refused_percent,
    }


def look(stack: Stack, number_of_runs: int) -> Status:
    """Look at everything once; it changes nothing."""
    if not stack.has_images:
        return _look_at_videos_only(stack)
    model, model_id, schedule = None, ", ".join(stack.analyses), None
    if stack.is_hosted:
        model, model_id = _look_at_model(stack)
        rule = stack.events.describe_rule(Name=stack.schedule_rule_name)
        schedule = Schedule(rule.get("ScheduleExpression", ""), rule.get("State") == "ENABLED")
    waiting = count_waiting(stack)
    is_usual = stack.is_hosted and stack.is_drop_off
    recent = None if is_usual and not stack.videos else read_recent(stack.s3, stack.final_bucket_name, utc_now())
    return Status(
        stack=stack,
        model=model,
        model_id=model_id,
        mapping_state=_mapping_state(stack),
        schedule=schedule,
        messages=count_messages(stack.sqs, stack.queue_url),
        left_images=sum(images_in(key) or 0 for key in left_chunks(stack)),
        dead_letters=_count_dead_letters(stack),
        waiting=waiting,
        stuck=stuck.causes(stack) if waiting.stuck else [],
        runs=runs.latest(stack, number_of_runs) if stack.is_hosted else [],
        running=runs.running(stack) if stack.is_hosted else [],
        recent=recent.of(IMAGE) if recent and not is_usual else None,
        bucket=None if stack.is_drop_off else look_at_bucket(stack),
        backfill=None if stack.is_drop_off else lately(stack),
        videos=_look_at_videos(stack, recent) if recent else None,
    )


def _mapping_state(stack: Stack) -> str:
    try:
        return stack.functions.get_event_source_mapping(UUID=stack.event_source_mapping_uuid)["State"]
    except stack.functions.exceptions.ResourceNotFoundException:
        return MISSING_MAPPING


def _look_at_videos(stack: Stack, recent: Recent) -> VideosStatus | None:
    return look_at_videos(stack, stack.videos, recent.of(VIDEO), recent.now) if stack.videos else None


def _look_at_videos_only(stack: Stack) -> Status:
    return Status(
        stack=stack,
        model=None,
        model_id="",
        mapping_state="",
        schedule=None,
        messages={},
        dead_letters=_count_dead_letters(stack),
        left_images=0,
        waiting=Waiting(0, is_at_least=False),
        stuck=[],
        runs=[],
        running=[],
        recent=None,
        bucket=None,
        backfill=None,
        videos=_look_at_videos(stack, read_recent(stack.s3, stack.final_bucket_name, utc_now())),
    )


def _count_dead_letters(stack: Stack) -> dict[str, int]:
    return {name: sum(count_messages(stack.sqs, dead).values()) for name, (dead, _) in stack.queues.items()}


def _look_at_model(stack: Stack) -> tuple[ModelStatus | BatchVisionError, str]:
    model_id = ""
    try:
        model_id = stack.lifecycle.model_id
        return stack.lifecycle.describe(), model_id
    except BatchVisionError as error:
        return error, model_id  # the rest is worth seeing all the same
