"""Rejected images go back to the source bucket, as new uploads.

One image at a time: it is copied to the source bucket under the key that it had there, then the very versions of the
rejected image and of its result are deleted. So it is never in no place, and what a run does meanwhile with the new
upload is left alone. The copy says in its metadata which upload it repeats: an interrupted retry that is repeated finds
it and does the rest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig

from batch_vision.aws.objects import found, list_entries
from batch_vision.aws.parallel import in_parallel
from batch_vision.core.names import usual_name
from batch_vision.core.times import from_text
from batch_vision.operator.objects import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from batch_vision.operator.stack import Stack

_PREFIX = "rejected/"
RETRY_MARK = "batch-vision-retry-of"
_PARALLEL = 8
_GIB_BYTES = 1024**3
# One CopyObject takes up to 5 GiB.
_COPYING = TransferConfig(multipart_threshold=5 * _GIB_BYTES, multipart_chunksize=_GIB_BYTES, use_threads=False)
_KEPT_HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")

# Why an image that is rejected is not retried.
SKIPPED = {
    "superseded": "a newer upload of the same key is there",
    "unfinished": "it is still in the source bucket, where the next run finishes it",
    "foreign": "it comes from another bucket or prefix than the stack has now",
    "misplaced": "a copy that somebody made of a result, or of one that is not rejected",
    "changed": "a run, or another retry, changed it this moment; see with another retry",
    "image_missing": "its image is not in the final bucket",
}


@dataclass
class Retried:
    """What became of the rejected images.

    Attributes
    ----------
    retried
        Images that are in the source bucket again.
    skipped
        The keys that were left, by a name of `SKIPPED`.
    """

    retried: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether there is nothing that should be looked at or tried again."""
        return not {"foreign", "misplaced", "changed", "image_missing"} & set(self.skipped)


def retry_rejected(stack: Stack, reason: str | None, progress: Callable[[int, int], None]) -> Retried:
    """Put rejected images back into the source bucket.

    Parameters
    ----------
    reason
        The error type to take, such as ``InvalidImageError``; None takes all.
    progress
        Told how many are done, of how many seen so far.
    """
    names = list(_result_keys(stack))
    answer, done = Retried(), Counter[str]()
    outcomes = in_parallel(lambda name: _retry(stack, name, reason), names, _PARALLEL)
    for number, (_, (outcome, key)) in enumerate(outcomes, start=1):
        done[outcome] += 1
        if outcome in SKIPPED:
            answer.skipped.setdefault(outcome, []).append(key)
        progress(number, len(names))
    answer.retried = done["retried"]
    return answer


def _result_keys(stack: Stack) -> Iterator[str]:
    entries = list_entries(stack.s3, stack.final_bucket_name, _PREFIX)
    return (entry["Key"] for entry in entries if entry["Key"].endswith(".json"))


def _retry(stack: Stack, result_key: str, reason: str | None) -> tuple[str, str]:
    """Take one image back, and say what came of it and what its source key is."""
    s3, final = stack.s3, stack.final_bucket_name
    answer = read_result(s3, final, result_key)
    if answer is None:
        return "no_result", result_key
    result, result_version = answer
    source, image_key = result["source"], str(result.get("image_key"))
    key, version_id = source["key"], source["version_id"]
    if f"{image_key}.json" != result_key or result.get("status") != "rejected":
        # Somebody copied it here, its mark too: its image is another one's.
        return "misplaced", result_key
    if reason and result["error"]["type"] != reason:
        return "other_reason", key
    if source["bucket"] != stack.source_bucket_name or not key.startswith(stack.places.source_prefixes):
        return "foreign", key
    if found(s3.head_object, Bucket=stack.source_bucket_name, Key=key, VersionId=version_id):
        return "unfinished", key
    image = found(s3.head_object, Bucket=final, Key=image_key)
    # A newer upload writes its result before its image: when the result is still the same, so was the image.
    now = found(s3.head_object, Bucket=final, Key=result_key)
    if now is None or now["VersionId"] != result_version:
        return "changed", key

    # Results first: a newer upload that is being retried itself is in the source bucket before its result goes.
    is_superseded = _has_newer_result(stack, source)
    there = found(s3.head_object, Bucket=stack.source_bucket_name, Key=key)
    is_repeated = there is not None and there["Metadata"].get(RETRY_MARK) == version_id
    is_superseded |= there is not None and there["LastModified"] >= _whole_second(source["uploaded_at"])
    if is_superseded and not is_repeated:
        if image is None:  # only an interrupted retry leaves it so, and the copy was analyzed meanwhile
            s3.delete_object(Bucket=final, Key=result_key, VersionId=result_version)
            return "retried", key
        return "superseded", key
    if image is None and not is_repeated:
        return "image_missing", key
    back = {"stack": stack, "moved": image, "moved_key": image_key, "bucket": stack.source_bucket_name}
    if not is_repeated and image is not None and found(copy_back, **back, source=source) is None:
        return "changed", key
    if image is not None:
        s3.delete_object(Bucket=final, Key=image_key, VersionId=image["VersionId"])
    s3.delete_object(Bucket=final, Key=result_key, VersionId=result_version)
    return "retried", key


def copy_back(stack: Stack, moved: Any, moved_key: str, bucket: str, source: Any) -> bool:
    """Copy a rejected image, or video, back to its drop-off bucket; the copy says which upload it repeats.

    Parameters
    ----------
    moved
        What a HEAD of it says, where it is now in the final bucket.
    bucket
        The drop-off bucket.
    source
        Of its result.
    """
    kept = {name: moved[name] for name in _KEPT_HEADERS if name in moved}
    stack.s3.copy(
        {"Bucket": stack.final_bucket_name, "Key": moved_key, "VersionId": moved["VersionId"]},
        bucket,
        source["key"],
        ExtraArgs=kept
        | {"MetadataDirective": "REPLACE", "Metadata": moved["Metadata"] | {RETRY_MARK: source["version_id"]}},
        Config=_COPYING,
    )
    return True


def _has_newer_result(stack: Stack, source: Any) -> bool:
    """Return whether a newer upload of a key has its result under the key's own name."""
    uploaded_at = from_text(source["uploaded_at"])
    for status in ("processed", "rejected"):
        answer = read_result(stack.s3, stack.final_bucket_name, f"{status}/{usual_name(source['key'])}.json")
        other = answer[0]["source"] if answer else {}
        if other.get("key") == source["key"] and from_text(other["uploaded_at"]) > uploaded_at:
            return True
    return False


def _whole_second(text: str) -> datetime:
    """Return a time as S3 tells that of an object: without what is less than a second."""
    return from_text(text).replace(microsecond=0)
