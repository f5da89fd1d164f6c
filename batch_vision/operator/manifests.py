"""A training manifest from corrections: which images it has, and where their sizes and boxes come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found
from batch_vision.aws.parallel import in_parallel
from batch_vision.backends.rekognition_custom_labels import LIMITS
from batch_vision.core.corrections import Box, Correction, Verdict, box_within
from batch_vision.core.image_header import HEADER_BYTES, sides_px
from batch_vision.core.image_limits import broken_limit
from batch_vision.core.manifests import Example, Kind, Manifest, is_test, left_out_because, make_manifest, problems
from batch_vision.operator.corrections import look_at_images
from batch_vision.operator.errors import OperatorError
from batch_vision.operator.objects import image_place, marked_boxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batch_vision.operator.corrections import Corrected
    from batch_vision.operator.stack import Stack

_FEW_BYTES = 64 * 1024
_NOT_CURRENT = "replaced or deleted since judged"
_JUDGED_AGAIN = "judged again later"


@dataclass
class Made:
    """The two sets, and the judged images that are in neither.

    Attributes
    ----------
    test
        None where Custom Labels is to split the images itself.
    left_out
        The keys of images by the reason.
    """

    train: Manifest = field(default_factory=Manifest)
    test: Manifest | None = None
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, key: str) -> None:
        """Note an image that is in neither."""
        self.left_out.setdefault(reason, []).append(key)


def make(
    stack: Stack,
    corrections: Iterable[Correction],
    kind: Kind,
    test_percent: float,
    progress: Callable[[int], None],
) -> Made:
    """Make the manifests of the images that were judged right or wrong.

    Parameters
    ----------
    corrections
        Those of a key together, in the order in which they were said.

    Raises
    ------
    OperatorError
        Custom Labels would not take them; the message says why, and what to do.
    """
    answer = Made()
    last: dict[tuple[str, str], tuple[Correction, Example]] = {}
    for corrected, example in _examples(stack, corrections, kind, progress):
        correction = corrected.correction
        if example is None:
            if correction.verdict is not Verdict.UNSURE:
                answer.leave_out(_NOT_CURRENT, correction.key)
            continue
        place = example.bucket, example.key
        if place in last:
            answer.leave_out(_JUDGED_AGAIN, correction.key)
        last[place] = correction, example
    examples = []
    for correction, example in last.values():
        if correction.verdict is Verdict.UNSURE:
            continue
        if reason := left_out_because(example, kind):
            answer.leave_out(reason, correction.key)
        else:
            examples.append(example)
    # In the order of the keys, so that the same corrections are the same file.
    examples.sort(key=lambda example: (example.bucket, example.key))
    tests = [example for example in examples if is_test(example.etag, test_percent)]
    trains = [example for example in examples if not is_test(example.etag, test_percent)]
    answer.train = make_manifest(trains, kind)
    if test_percent:
        answer.test = make_manifest(tests, kind)
    broken = problems(answer.train, answer.test, kind, (example.bucket for example in examples))
    if broken:
        told = " ".join(f"{problem} {remedy}" for problem, remedy in broken)
        left = "; ".join(f"{len(keys):,} {reason}" for reason, keys in answer.left_out.items())
        raise OperatorError(f"No manifest is written. {told}" + (f" Judged images left out: {left}." if left else ""))
    return answer


def _examples(
    stack: Stack, corrections: Iterable[Correction], kind: Kind, progress: Callable[[int], None]
) -> Iterator[tuple[Corrected, Example | None]]:
    return in_parallel(lambda found: _example(stack, found, kind), look_at_images(stack, corrections, progress))


def _example(stack: Stack, corrected: Corrected, kind: Kind) -> Example | None:
    correction, result = corrected.correction, corrected.result
    if result is None:
        return None
    place = image_place(stack.final_bucket_name, result)
    etag = result["source"].get("etag") or correction.etag or correction.upload[1]
    boxes: tuple[Box, ...] = ()
    width_px = height_px = 0
    if kind is Kind.BOXES and (boxes := _boxes(correction, result)):
        width_px, height_px = _size(stack, result, place)
        boxes = boxes if width_px and height_px else ()
    return Example(
        bucket=place["Bucket"],
        key=place["Key"],
        etag=etag,
        labels=correction.labels,
        judged_at=correction.at,
        boxes=boxes,
        width_px=width_px,
        height_px=height_px,
        is_trainable=_is_trainable(stack, result, place),
    )


def _boxes(correction: Correction, result: dict[str, Any]) -> tuple[Box, ...]:
    """Return the boxes of an image: those of a person, or those of the predictions that are right.

    Of labels that a person corrected without boxes nobody knows where they are.
    """
    if correction.boxes is not None:
        return correction.boxes
    is_of_model = correction.model in (None, result["model"]["id"])  # another one has boxes that nobody looked at
    if correction.verdict is not Verdict.RIGHT or not is_of_model:
        return ()
    said = [one for one in result.get("predictions") or [] if one["name"] in correction.labels]
    boxes = (box_within(name, box) for name, box in marked_boxes(said))
    return tuple(box for box in boxes if box)


def _is_trainable(stack: Stack, result: dict[str, Any], place: dict[str, str]) -> bool:
    """Return whether Custom Labels takes an image as it is; it trains with what it analyzes, PNG and JPEG."""
    size_bytes = result["source"].get("size_bytes") or 0
    longer_px = max(result.get("width") or 0, result.get("height") or 0)
    if size_bytes > LIMITS.max_bytes or longer_px > LIMITS.max_side_px:
        return False
    if not result.get("converted"):  # the model took it as it is
        return True
    answer = found(stack.s3.get_object, **place, Range=f"bytes=0-{HEADER_BYTES - 1}")
    return answer is not None and broken_limit(answer["Body"].read(), size_bytes, LIMITS) is None


def _size(stack: Stack, result: dict[str, Any], place: dict[str, str]) -> tuple[int, int]:
    """Return width and height of an image as it is seen, in pixels; zeros where nobody can tell."""
    if result.get("width") and result.get("height"):
        return int(result["width"]), int(result["height"])
    for number in (_FEW_BYTES, HEADER_BYTES):  # most headers are short
        answer = found(stack.s3.get_object, **place, Range=f"bytes=0-{number - 1}")
        if answer is None:
            break
        if sides := sides_px(answer["Body"].read()):
            return sides
    return 0, 0
