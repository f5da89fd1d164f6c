"""Videos on the local stack: sees each to its end, fetches the results as the tool does, and says what came of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.core.catalog import VIDEO
from batch_vision.core.times import utc_now
from batch_vision.core.videos import ACTIVE, WAITING, marked_record, video_result_key
from batch_vision.operator.cost import paid_minutes, video_dollars
from batch_vision.operator.results import Filter, download, select
from batch_vision.operator.stack import find_by_outputs, variables_set
from local.environment import CLIENT_ENVIRONMENT, OUTPUTS_FILE
from local.localstack import LAMBDA_LOGS
from local.run import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from batch_vision.operator.display import Display, Step
    from batch_vision.operator.results import Downloaded
    from local.environment import Environment

# What the module takes for videos (terraform/videos.tf).
SUFFIXES = (".mp4", ".mov", ".m4v", ".avi")
# What local running asks about videos, where no file of variables says it.
ARGUMENT: dict[str, Any] = {"analyses": ["labels", "moderation", "faces", "celebrities", "text"]}

_POLL_SECONDS = 1.0
# The dispatcher looks each minute; a job may be refused, or fail, and be tried again some looks later.
_STALL_SECONDS = 900.0
# Where no job is under way, only those wait for which there are no minutes left on this day.
_IDLE_SECONDS = 240.0


@dataclass
class VideoResults:
    """What came back.

    Attributes
    ----------
    results
        By key.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    downloaded: Downloaded | None = None

    def count(self, status: str) -> int:
        """Count the videos that ended so."""
        return sum(result["status"] == status for result in self.results.values())


def wait(environment: Environment, keys: Collection[str], step: Step) -> None:
    """Show the progress of videos until each has a result, or nothing moves any more.

    Parameters
    ----------
    keys
        The videos that were uploaded.
    """
    final = environment.output("final_bucket_name")
    places = {video_result_key(key) for key in keys}
    last: object = None
    moved_at_seconds = time.monotonic()
    while True:
        done = len(places & {*listed(environment, final, "videos/results")})
        active = {marked_record(marker) for marker in listed(environment, final, ACTIVE)}
        waiting = {marked_record(marker) for marker in listed(environment, final, WAITING)} - active
        if done == len(places):
            return
        if (now := (done, active, waiting)) != last:
            last, moved_at_seconds = now, time.monotonic()
        elif time.monotonic() - moved_at_seconds > (_STALL_SECONDS if active else _IDLE_SECONDS):
            return
        step.progress(done, len(places), f"{len(active)} jobs under way, {len(waiting)} waiting")
        time.sleep(_POLL_SECONDS)


def fetch(environment: Environment, keys: Collection[str], out: Path, progress: Callable[[int, int, str], None]) -> Any:
    """Download the results of videos, under the names that the tool gives them."""
    answer = VideoResults()
    s3, final = environment.client("s3"), environment.output("final_bucket_name")
    there = {*listed(environment, final, "videos/results")}
    for key in keys:
        if (place := video_result_key(key)) in there:
            answer.results[key] = json.loads(s3.get_object(Bucket=final, Key=place)["Body"].read())
    with variables_set(**CLIENT_ENVIRONMENT):  # as `source build/local/env` does
        stack, now = find_by_outputs(OUTPUTS_FILE), utc_now()
        lines = list(select(stack, now - timedelta(days=1), now + timedelta(minutes=1), Filter(media=VIDEO)))
        out.mkdir(parents=True, exist_ok=True)
        answer.downloaded = download(stack, lines, out, lambda done: progress(done, len(lines), ""))
    return answer


def report(display: Display, environment: Environment, found: VideoResults, videos: int, out: Path) -> bool:
    """Print what was done, and return whether every video ended processed or rejected.

    Parameters
    ----------
    videos
        How many videos are to have a result.
    """
    results = found.results.values()
    rejected = Counter(result["error"]["type"] for result in results if result["status"] == "rejected")
    names = Counter(said["name"] for result in results for said in result["predictions"])
    minutes: Counter[str] = Counter()
    for result in results:
        minutes.update(paid_minutes(result))
    dollars = video_dollars(minutes)
    segments = sum(one.get("segments") or 0 for result in results for one in result["analyses"].values())
    each = ", ".join(f"{analysis} ${amount:.2f}" for analysis, amount in dollars.items())
    lines = {
        "videos processed": f"{found.count('processed')} of {videos}",
        "videos rejected": f"{found.count('rejected')}{counted(rejected)}",
        "segments": f"{segments:,}, of {len(names):,} names",
        "would cost on AWS": f"${sum(dollars.values()):.2f}{f' ({each})' if each else ''}",
        "results": str(out),
    }
    display.say("")
    for name, text in lines.items():
        display.say(f"{name:<28}{text}")
    problems = [
        f"{key} failed, {error['type']}: {error['message']}"
        for key, result in found.results.items()
        if result["status"] == "failed" and (error := result.get("error") or {"type": "?", "message": ""})
    ]
    if missing := videos - len(found.results):
        problems.append(
            f"{missing} videos have no result; they are still in {environment.output('videos_bucket_name')}. See the"
            f" logs in {LAMBDA_LOGS}"
        )
    if found.downloaded:
        problems += [f"{key}: {why}" for key, why in found.downloaded.failed.items()]
        for renamed in found.downloaded.renamed:
            display.say(
                f"- {renamed['key']} is {renamed['path']} in {out}: its own name is taken, or is none on a disk"
            )
    for problem in problems:
        display.mark(problem, is_good=False)
    if not problems:
        display.mark("every video has its end", is_good=True)
    return not problems
