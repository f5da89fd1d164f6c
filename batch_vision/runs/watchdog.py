"""One call of the watchdog: look after everything, count it, and tell people what was done."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.aws import clients
from batch_vision.aws.current_run import close_current_run, load_current_run
from batch_vision.aws.mappings import EventSourceMapping
from batch_vision.backends.registry import lifecycle_of
from batch_vision.core.errors import BatchVisionError
from batch_vision.core.observability import logger, metrics
from batch_vision.core.run_summaries import summary_key
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.runs.alert import alert_of
from batch_vision.runs.guard import Duty, Guard, Task
from batch_vision.runs.settings import GuardModelSettings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from batch_vision.runs.alert import Alert
    from batch_vision.runs.guard import Report


def look_after(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Stop what no live execution owns; see `Guard.run`.

    Raises
    ------
    GuardError
        Something could not be stopped; it has been told and counted.
    """
    duty = Duty.from_event(event)
    bucket = settings_of(GuardModelSettings).final_bucket_name
    guard = Guard(
        duty,
        clients.stepfunctions(),
        EventSourceMapping(clients.functions(), duty.mapping_uuid),
        lifecycle_of,
        partial(load_current_run, clients.s3(), bucket),
        lambda run_id: close_current_run(clients.s3(), bucket, run_id, utc_now()),
    )
    error: BatchVisionError | None = None
    try:
        guard.run(event["poll_seconds"], lambda: context.get_remaining_time_in_millis() / 1000, time.sleep)
    except BatchVisionError as raised:
        error = raised
    report = guard.report
    _count(duty, report, error)
    answer = {"task": duty.task, **report.as_dict()}
    logger.info("guard", extra={"run_id": _run_id(duty)} | answer)
    if alert := alert_of(duty, report, error, _summary_of(duty)):
        _send(alert, event["alert_topic_arn"])
    if error:
        raise error
    return answer


def _count(duty: Duty, report: Report, error: BatchVisionError | None) -> None:
    metrics.add_metric("GuardStoppedModel", MetricUnit.Count, len(report.stopped_models))
    metrics.add_metric("GuardDisabledMapping", MetricUnit.Count, int(report.is_mapping_disabled))
    metrics.add_metric("GuardStoppedExecution", MetricUnit.Count, len(report.stopped_executions))
    metrics.add_metric("GuardFailed", MetricUnit.Count, int(bool(error or report.refused)))
    if duty.task is Task.TICK:
        metrics.add_metric("ModelOn", MetricUnit.Count, int(report.is_model_on))
        metrics.add_metric("ModelOnWithoutRun", MetricUnit.Count, int(report.is_model_unowned))


def _run_id(duty: Duty) -> str | None:
    return duty.ended_execution_arn and duty.ended_execution_arn.rsplit(":", 1)[-1]


def _summary_of(duty: Duty) -> dict[str, Any] | None:
    """Read what an execution that failed has written of itself; None where there is nothing to be read."""
    run_id = _run_id(duty)
    if duty.ended_status != "FAILED" or not run_id:
        return None
    key = summary_key(run_id)
    try:
        answer = clients.s3().get_object(Bucket=settings_of(GuardModelSettings).final_bucket_name, Key=key)
        summary: dict[str, Any] = json.loads(answer["Body"].read())
    except (BotoCoreError, ClientError) as error:
        logger.info("no summary", extra={"key": key, "error": repr(error)})
        return None
    return summary


def _send(alert: Alert, topic_arn: str) -> None:
    """Send an alert; what the watchdog did is done, and what it could not do raises, whether it is heard or not."""
    try:
        clients.sns().publish(TopicArn=topic_arn, Subject=alert.subject, Message=alert.message)
    except (BotoCoreError, ClientError):
        logger.exception("the alert was not sent")
