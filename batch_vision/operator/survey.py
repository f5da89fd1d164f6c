"""What a backfill of a whole bucket would find: the listings of images and results, side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.aws.chunks import deployed_at
from batch_vision.aws.listings import RESULTS_LONG, key_of_long_result, list_images, list_results
from batch_vision.aws.objects import found, list_entries
from batch_vision.core.in_place import upload_of
from batch_vision.core.joining import Join, Listed, State, compare
from batch_vision.core.names import result_key
from batch_vision.core.scope import (
    RESULT_OUT_OF_SCOPE,
    Storage,
    is_of_other_scope,
    reason_of,
    why_unreadable,
)
from batch_vision.core.times import utc_now
from batch_vision.core.versions import NULL_VERSION
from batch_vision.operator.errors import WrongInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from batch_vision.operator.stack import Stack

# What a sweep tells of, in this order.
SWEPT = (State.MISSING, State.STALE, State.OUTDATED, State.ORPHANED)
_ANALYZED = frozenset({State.MISSING, State.STALE, State.OUTDATED})
_NOT_YOUNGER = frozenset({State.STALE, State.DOUBTFUL})
_TELL_EVERY = 1000
_MOST_EXAMPLES = 5
# Results that a sweep looks at closely, with two requests each; the others are as their times say.
_MOST_CLOSE_LOOKS = 1000


@dataclass(slots=True)
class Survey:
    """What was found.

    Attributes
    ----------
    listed
        Objects, or rows of a list, that were looked at.
    images
        Those to analyze; of a list those in scope, for nothing tells which of them have a result.
    looks
        Those whose results are looked at more closely, and are up to date as far as the listing tells.
    left_out
        Objects that are not analyzed, by the reason.
    counts
        Keys by their `State`; empty for a list.
    examples
        The first keys of each state.
    """

    listed: int = 0
    images: int = 0
    looks: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def wrong(self) -> int:
        """How many keys have no result that is up to date, or a result and no object."""
        return sum(self.counts[state] for state in SWEPT)

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {
            "listed": self.listed,
            "images": self.images,
            "looks": self.looks,
            "left_out": dict(self.left_out),
            **{state.value: self.counts[state] for state in SWEPT},
            "examples": {state.value: self.examples.get(state, []) for state in SWEPT},
        }

    def take(self, state: State, key: str) -> None:
        """Count a key."""
        self.counts[state] += 1
        examples = self.examples.setdefault(state, [])
        if len(examples) < _MOST_EXAMPLES:
            examples.append(key)


def check_prefix(stack: Stack, prefix: str) -> None:
    """Check that keys with a prefix may be in scope.

    Raises
    ------
    WrongInputError
        None of them is.
    """
    prefixes = stack.scope.prefixes
    if not any(prefix.startswith(one) or one.startswith(prefix) for one in prefixes):
        shown = ", ".join(map(repr, prefixes))
        raise WrongInputError(
            f"--prefix is {prefix!r}, but the stack only looks at keys that begin with {shown} (source_prefix). Give a"
            " prefix that begins so."
        )


def survey_listing(
    stack: Stack, prefix: str, progress: Callable[[int], None], *, is_deep: bool = False, is_sweep: bool = False
) -> Survey:
    """Compare the images under a prefix with the results, as the planner does, and change nothing.

    Parameters
    ----------
    progress
        Told how many objects were looked at.
    is_deep
        Whether results that are up to date as far as the listing tells are looked at as well.
    is_sweep
        Whether results without an object count that have hashes for names, which takes a request for each; and whether
        a result that seems stale may be of the very upload all the same: S3 lists times in whole seconds.
    """
    now = utc_now()
    since = deployed_at(stack.s3, stack.final_bucket_name, stack.settings_fingerprint)
    long_results = LongResults(stack, since)
    answer, close_looks = Survey(), 0
    for state, one in Join(
        lambda after: list_images(stack.s3, stack.images_bucket_name, prefix, stack.scope, after),
        lambda after: list_results(stack.s3, stack.final_bucket_name, prefix, after),
        since,
    ):
        answer.listed += state is not State.ORPHANED
        if answer.listed % _TELL_EVERY == 0:
            progress(answer.listed)
        known = long_results.state_of(one) if state is State.UNKNOWN else state
        if is_sweep and known in _NOT_YOUNGER and close_looks < _MOST_CLOSE_LOOKS:
            close_looks += 1
            known = _look_closely(stack, one.key)
        refusal = why_unreadable(Storage(one.storage_class), now)
        if known is State.LEFT_OUT:
            answer.left_out[one.left_out] += 1
        elif known is State.ORPHANED and is_of_other_scope(one.key, stack.scope):
            answer.left_out[RESULT_OUT_OF_SCOPE] += 1
        elif refusal and (known in _ANALYZED or known is State.DOUBTFUL or is_deep):
            answer.left_out[reason_of(refusal)] += 1
        else:
            answer.take(known, one.key)
            answer.images += known in _ANALYZED
            answer.looks += known is State.DOUBTFUL or (known is State.DONE and (is_deep or state is State.UNKNOWN))
    if is_sweep:
        for key in long_results.orphans(prefix):
            answer.take(State.ORPHANED, key)
    return answer


class LongResults:
    """The results that have hashes for names: of keys that leave no room for another one, so there are few."""

    def __init__(self, stack: Stack, settings_since: datetime | None) -> None:
        self._stack, self._settings_since = stack, settings_since
        self._without_object: dict[str, datetime] | None = None

    def state_of(self, one: Listed) -> State:
        """Return how an object with such a key is; each may be asked about once."""
        written_at = self._listed().pop(result_key(one.key), None)
        if written_at is None:
            return State.MISSING
        return compare(one, written_at, self._settings_since)

    def orphans(self, prefix: str) -> Iterator[str]:
        """Yield the keys under a prefix whose results nobody asked about: only the results themselves tell them."""
        for name in self._listed():
            key = key_of_long_result(self._stack.s3, self._stack.final_bucket_name, name)
            if key is None:
                continue
            if key.startswith(prefix) and not is_of_other_scope(key, self._stack.scope):
                yield key

    def _listed(self) -> dict[str, datetime]:
        if self._without_object is None:
            entries = list_entries(self._stack.s3, self._stack.final_bucket_name, RESULTS_LONG)
            self._without_object = {entry["Key"]: entry["LastModified"] for entry in entries}
        return self._without_object


def _look_closely(stack: Stack, key: str) -> State:
    """Return whether a result that seems stale is; it is up to date if it names the upload that is there."""
    try:
        result = found(stack.s3.head_object, Bucket=stack.final_bucket_name, Key=result_key(key))
        image = found(stack.s3.head_object, Bucket=stack.images_bucket_name, Key=key)
    except ClientError:
        return State.STALE  # such as of an image that has a key of its uploader's
    if not result or not image:
        return State.STALE
    version_id = image.get("VersionId", NULL_VERSION)
    upload = upload_of(version_id, image["ETag"].strip('"'), image["LastModified"], image["ContentLength"])
    told = result["Metadata"]
    if told.get("upload") != upload:
        return State.STALE
    return State.DONE if told.get("fingerprint") == stack.settings_fingerprint else State.OUTDATED
