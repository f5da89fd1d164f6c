"""`current-run.json` in the final bucket: the run under way, and its model.

It is written before the model is started, so whoever has to stop the model knows which one it is even when an apply
has given the deployment another one since. It is closed when the model was seen stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.errors import BatchVisionError
from batch_vision.core.models import Model
from batch_vision.core.observability import logger
from batch_vision.core.times import to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

KEY = "current-run.json"


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """The run that started a model last.

    Attributes
    ----------
    former_models
        Models of runs before it that nobody has seen stopped.
    is_closed
        Whether all of these models were seen stopped since.
    """

    run_id: str
    execution_arn: str
    model: Model
    former_models: tuple[Model, ...] = ()
    is_closed: bool = False

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that may be on; none once it is closed."""
        return () if self.is_closed else (self.model, *self.former_models)


def write_current_run(s3: S3Client, bucket: str, run_id: str, execution_arn: str, model: Model) -> None:
    """Write down which run is under way and which model it is about to start.

    Raises
    ------
    BatchVisionError
        It could not be written: then the model must not be started, for nobody would know of it.
    """
    previous = load_current_run(s3, bucket)
    entry = {
        "run_id": run_id,
        "execution_arn": execution_arn,
        **model.to_json(),
        "former_models": [
            former.to_json() for former in dict.fromkeys(previous.models if previous else ()) if former != model
        ],
        "closed_at": None,
    }
    _put(s3, bucket, entry)


def close_current_run(s3: S3Client, bucket: str, run_id: str, now: datetime) -> None:
    """Write down that the models of a run were seen stopped; a failure is logged, for they are.

    Nothing is written when another run is under way meanwhile.
    """
    try:
        entry, etag = _get(s3, bucket)
        if entry and entry.get("run_id") == run_id and not entry.get("closed_at"):
            _put(s3, bucket, entry | {"former_models": [], "closed_at": to_text(now)}, IfMatch=etag)
    except BatchVisionError:
        logger.exception("current run not closed")


def load_current_run(s3: S3Client, bucket: str) -> CurrentRun | None:
    """Read which run started a model last; None where none did.

    Raises
    ------
    BatchVisionError
        It cannot be read.
    """
    entry, _ = _get(s3, bucket)
    try:
        return CurrentRun(
            run_id=entry["run_id"],
            execution_arn=entry["execution_arn"],
            model=Model.from_json(entry),
            former_models=tuple(Model.from_json(former) for former in entry["former_models"]),
            is_closed=entry["closed_at"] is not None,
        )
    except (KeyError, TypeError, AttributeError):
        return None  # none yet, or one that a version before has written, which names no model


def read_current_run(s3: S3Client, bucket: str) -> str | None:
    """Read the id of the run that started a model last, for log lines; None where that cannot be told."""
    try:
        run_id: str = _get(s3, bucket)[0]["run_id"]
    except (BatchVisionError, KeyError) as error:
        logger.warning("current run not read", extra={"error": repr(error)})
        return None
    return run_id


def _get(s3: S3Client, bucket: str) -> tuple[dict[str, Any], str]:
    with control_calls():
        try:
            answer = s3.get_object(Bucket=bucket, Key=KEY)
        except s3.exceptions.NoSuchKey:
            return {}, ""
        body = answer["Body"].read()
    try:
        entry = json.loads(body)
    except ValueError:
        entry = None
    return (entry if isinstance(entry, dict) else {}), answer.get("ETag", "")


def _put(s3: S3Client, bucket: str, entry: Mapping[str, Any], **condition: str) -> None:
    with control_calls():
        s3.put_object(
            Bucket=bucket,
            Key=KEY,
            Body=json.dumps(entry, indent=1).encode(),
            ContentType="application/json",
            **condition,  # type: ignore[arg-type]
        )
