"""An existing bucket as the stack needs it, and the results of its images. Nothing of it is changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.aws.chunks import deployed_at
from batch_vision.aws.objects import list_entries
from batch_vision.operator.objects import read_result
from batch_vision.operator.problems import Problem, remedy_of
from batch_vision.operator.text import shown_number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_vision.operator.catalog import Recent
    from batch_vision.operator.stack import Stack

# States of an event source mapping that is enabled, or will be.
WORKING_MAPPING = ("Enabled", "Enabling", "Updating", "Creating")
_RESULT_PREFIXES = ("results/", "results-long/")
_MOST_RESULTS = 10_000  # in ten requests
_MOST_CAUSES = 3


@dataclass(frozen=True, slots=True)
class OlderResults:
    """Results that may have been made with other settings than those of now.

    Attributes
    ----------
    settings_since
        Since when these settings are deployed.
    older
        Results that were written before, and so with other settings, or with these in an earlier deployment of them.
    looked_at, is_all
        How many results were looked at, and whether these are all.
    """

    settings_since: datetime
    older: int
    looked_at: int
    is_all: bool

    def __str__(self) -> str:
        looked_at = f"{self.looked_at:,}" if self.is_all else f"the first {self.looked_at:,}"
        return f"{self.older:,} of {looked_at} may be older than the settings"


@dataclass(frozen=True, slots=True)
class ImagesBucket:
    """What was found.

    Attributes
    ----------
    sends_events
        Whether the bucket sends its events to EventBridge; None where that is not known.
    """

    sends_events: bool | None = None
    problems: list[Problem] = field(default_factory=list)
    older_results: OlderResults | None = None


def look_at_bucket(stack: Stack) -> ImagesBucket:
    """Look at an existing bucket and at the age of the results."""
    older_results = count_older_results(stack)
    name = stack.images_bucket_name
    if problem := wrong_bucket(stack, name, "images_bucket_name"):
        return ImagesBucket(None, [problem], older_results)
    sends_events, problems = look_at_events(stack, name, "image")
    return ImagesBucket(sends_events, [*problems, *_not_collected(stack), *_empty_prefixes(stack)], older_results)


def _not_collected(stack: Stack) -> Iterator[Problem]:
    """Yield what keeps changes from the function that looks at them before a run."""
    if not stack.collects_changes:
        return
    name = f"{stack.name}-collect-changes"
    for mapping in stack.functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
        if mapping["State"] not in WORKING_MAPPING:
            yield Problem(
                f"the event source mapping of {name} is {mapping['State']}: no change of the bucket is looked at",
                f"Enable it: aws lambda update-event-source-mapping --uuid {mapping['UUID']} --enabled",
            )


def wrong_bucket(stack: Stack, name: str, variable: str) -> Problem | None:
    """Return why the stack cannot work with a bucket at all, which a variable of the module names."""
    try:
        answer: Any = stack.s3.head_bucket(Bucket=name)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        if status == 404:
            return Problem(
                f"bucket {name} does not exist",
                f"Set {variable} to the bucket that you mean, or make this one, and apply.",
            )
        if status == 403:
            return Problem(
                f"bucket {name} cannot be looked at: you lack s3:ListBucket on it",
                "Ask the owner of the bucket for it. Until then see by yourself that the bucket is in Region"
                f" {stack.region} and sends its events to EventBridge.",
            )
        if status not in (301, 400):  # what S3 answers about a bucket of another Region
            raise
    region = headers.get("x-amz-bucket-region", stack.region)
    if region == stack.region:
        return None
    return Problem(
        f"bucket {name} is in Region {region}, and the stack in {stack.region}",
        f"Apply the module in {region}, or set {variable} to a bucket in {stack.region}: neither its events nor"
        " Rekognition cross Regions.",
    )


def look_at_events(stack: Stack, name: str, noun: str) -> tuple[bool | None, list[Problem]]:
    """Return whether a bucket sends its events to EventBridge, and what is to be done where it does not.

    Parameters
    ----------
    noun
        What of the bucket is analyzed.
    """
    see = f"aws s3api get-bucket-notification-configuration --bucket {name}"
    try:
        configuration = stack.s3.get_bucket_notification_configuration(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return None, [
            Problem(
                f"it is not known whether bucket {name} sends its events to EventBridge: you lack"
                " s3:GetBucketNotification on it",
                f"Ask the owner of the bucket to look for EventBridgeConfiguration in: {see}",
            )
        ]
    if "EventBridgeConfiguration" in configuration:
        return True, []
    return False, [
        Problem(
            f"bucket {name} does not send its events to EventBridge, so no new {noun} is analyzed",
            "The owner of the bucket turns it on in the S3 console: Properties, Event notifications, Amazon"
            " EventBridge, Edit, On. With the AWS CLI, put-bucket-notification-configuration replaces the whole"
            f' configuration, so take what `{see}` prints, add "EventBridgeConfiguration": {{}}, and put all of it.',
        )
    ]


def _empty_prefixes(stack: Stack) -> Iterator[Problem]:
    for prefix in stack.places.source_prefixes:
        if prefix and not stack.s3.list_objects_v2(Bucket=stack.images_bucket_name, Prefix=prefix, MaxKeys=1).get(
            "Contents"
        ):
            yield Problem(
                f"no key of bucket {stack.images_bucket_name} begins with {prefix!r} (source_prefix)",
                "Put images there, or set source_prefix to what their keys begin with, and apply.",
            )


def count_older_results(stack: Stack) -> OlderResults | None:
    """Count the results that were written before the settings of now were deployed, among the first 10,000.

    None where the final bucket does not say since when these settings are deployed.
    """
    s3, bucket = stack.s3, stack.final_bucket_name
    since = deployed_at(s3, bucket, stack.settings_fingerprint)
    if since is None:
        return None
    written = (entry["LastModified"] for prefix in _RESULT_PREFIXES for entry in list_entries(s3, bucket, prefix))
    first = list(islice(written, _MOST_RESULTS + 1))
    looked_at = first[:_MOST_RESULTS]
    return OlderResults(since, sum(at < since for at in looked_at), len(looked_at), len(first) == len(looked_at))


def failed_lately(stack: Stack, recent: Recent, noun: str) -> Problem | None:
    """Return what is known of the images, or the videos, that failed lately: how many, why, and what to do."""
    lines = recent.with_status("failed")
    if not lines:
        return None
    causes = Counter(line["error_type"] or "unknown" for line in lines).most_common(_MOST_CAUSES)
    examples = [next(line for line in lines if (line["error_type"] or "unknown") == cause) for cause, _ in causes]
    results = [read_result(stack.s3, stack.final_bucket_name, line["result_key"]) for line in examples]
    told = [read[0].get("error") or {} for read in results if read]
    remedies = dict.fromkeys(error.get("remedy") or remedy_of(error.get("type", "")) for error in told)
    counts = ", ".join(f"{cause} {number}" for cause, number in causes)
    return Problem(
        f"failed: {shown_number(len(lines), noun)} in the last {recent.hours:.0f} hours ({counts})",
        " ".join([*filter(None, remedies), "Then: batch-vision retry"]),
    )
