"""Random worlds in which the functions of videos run side by side, are killed, and share their account.

The functions are the real ones. Their requests go to a store, a bucket, a service and queues in memory, and each
request is a place where another function may go on, or where the function may die: before it is made, or after, so
that its answer is lost. Time is virtual. Conditions of the store compare contents, as the ETags of S3 do.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from greenlet import getcurrent, greenlet

from batch_vision.core import errors
from batch_vision.core.in_place import ResultHead
from batch_vision.core.video_plans import minutes_of
from batch_vision.core.video_reservations import Limits, Reservations, Reserved, swept
from batch_vision.core.videos import (
    OPEN,
    Fault,
    JobLook,
    JobStatus,
    Plan,
    Record,
    State,
    Upload,
    VideoMetadata,
    marked_record,
)
from batch_vision.videos.dispatching import Dispatcher
from batch_vision.videos.finishing import Finisher
from batch_vision.videos.registering import Registering
from batch_vision.videos.source import Header
from batch_vision.videos.store import Held, Marker

BEGIN = datetime(2026, 11, 20, 22, tzinfo=UTC)
BUCKET = "videos"
TICK = timedelta(minutes=5)  # the real one is shorter: these worlds have less of them
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
DISPATCHER_TIMEOUT, COLLECTOR_TIMEOUT, REGISTER_TIMEOUT = 2 * MINUTE, 15 * MINUTE, 5 * MINUTE
ENDS = (State.DONE, State.REJECTED, State.FAILED, State.DROPPED)


class Killed(BaseException):
    """The function dies here."""


class BrokenError(AssertionError):
    """A promise is broken."""


@dataclass
class Job:
    token: str
    request: Mapping[str, Any]
    content: str
    started_at: datetime
    ends_at: datetime | None
    look: JobLook
    reserved: Reserved


@dataclass
class Video:
    """What is in an uploaded file: it is the same at each look."""

    duration_seconds: float
    is_told: bool = True
    refusal: Fault | None = None
    is_rejected: bool = False


@dataclass
class Process:
    kind: str
    greenlet: greenlet
    ends_at: datetime
    then: Callable[[bool], None]


@dataclass
class Message:
    due: datetime
    key: str
    is_resent: bool = False  # one of ours
    deliveries: int = 0
    is_out: bool = False


class World:
    """Videos of one bucket, and all that works on them.

    Parameters
    ----------
    leaves
        Whether it is a drop-off bucket.
    """

    def __init__(self, seed: int, videos: int = 12, store: type[MemoryStore] | None = None) -> None:
        self.random = random.Random(seed)
        chance = self.random.random
        self.now = BEGIN + MINUTE * self.random.randrange(150)
        self.is_calm = False
        self.leaves = chance() < 0.4
        self.is_versioned = self.leaves or chance() < 0.5
        self.is_limit_first = chance() < 0.5
        self.account_limit = self.random.choice((1, 2, 4, 8))
        self.foreign = 0
        self.config = 0
        self.limits = Limits(self.random.choice((1, 2, 4, 20)), self.random.choice((90, 200, 600, 5000)))
        self.analyses = ["labels"] if chance() < 0.7 else ["labels", "text"]
        self.store = (store or MemoryStore)(self)
        self.bucket = MemoryBucket(self)
        self.service = MemoryService(self)
        self.results = MemoryResults(self)
        self.processes: list[Process] = []
        self.messages: list[Message] = []
        self.hints: list[tuple[datetime, str]] = []
        self.invocations: list[tuple[datetime, str]] = []
        self.moved: Counter[str] = Counter()
        self.lines: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._main = getcurrent()
        self._running: Process | None = None
        self._next_tick = self.now
        self._spacing = MINUTE
        self._told = -1
        self._seen: datetime | None = None
        keys = [f"video-{number}.mp4" for number in range(videos)]
        # What the owner does: each key is uploaded, some are replaced, deleted or brought back later.
        self.owner: list[tuple[datetime, str, str]] = []
        for key in keys:
            at = self.now + SECOND * self.random.randrange(1800)
            self.owner.append((at, "upload", key))
            while chance() < 0.25:
                at += SECOND * self.random.choice((2, 30, 300, 3000))
                self.owner.append((at, self.random.choice(("upload", "delete", "back")), key))
        self.owner.sort(reverse=True)

    # Where a function may lose its turn or its life.

    def point(self) -> None:
        running = self._running
        if running is None:
            return
        if self.is_calm:
            return
        chance = self.random.random()
        if chance < 0.006:
            self.counts["killed"] += 1
            raise Killed
        if chance < 0.25:
            self._main.switch()
            if self.now > running.ends_at:
                raise Killed

    def is_untimely(self) -> bool:
        """Return whether the owner acts just after a collector has looked at a video."""
        is_collector = self._running is not None and self._running.kind == "collect"
        return is_collector and not self.is_calm and self.random.random() < 0.06

    def rest(self) -> None:
        """Let others go on for a while."""
        running = self._running
        assert running
        self._seen = None
        for _ in range(20):
            self._main.switch()
        if self.now > running.ends_at:
            raise Killed

    def run(self, most_steps: int = 20_000) -> None:
        """Let everything happen until all is quiet, then check the promises; raises `BrokenError`."""
        chance = self.random.random
        for _ in range(most_steps):
            if self.now != self._seen:
                self._seen = self.now
                self._happen()
            if self.processes:
                if chance() < 0.1:
                    self._pass(SECOND * self.random.choice((1, 3, 10, 60)))
                self._step(self.random.choice(self.processes))
            elif self._is_quiet():
                self.check()
                return
            else:
                self._jump()
        raise BrokenError(f"left open: {sorted(self.store.marked)} {self.messages}")

    def _pass(self, time: timedelta) -> None:
        self.now += time

    def _is_quiet(self) -> bool:
        return not (self.owner or self.messages or self.invocations or self.store.marked)

    def _happen(self) -> None:
        """Deliver what is due, and change what the functions have no part in."""
        chance = self.random.random
        self.is_calm = self.is_calm or (not self.owner and self.now > BEGIN + 5 * 60 * MINUTE and chance() < 0.02)
        if not self.is_calm:
            if chance() < 0.05:
                self.account_limit = self.random.randint(1, 8)
            if chance() < 0.05:
                self.foreign = self.random.choice((0, 0, 1, 3))
            if chance() < 0.05:
                self.config += 1
            if chance() < 0.003:
                self._pass(self.random.choice((timedelta(hours=3), timedelta(hours=20), timedelta(days=7))))
        else:
            self.foreign, self.account_limit = 0, 8
        while self.owner and self.owner[-1][0] <= self.now:
            _, what, key = self.owner.pop()
            getattr(self.bucket, what)(key)
        self.service.tell()
        for message in self.messages:
            if message.due <= self.now and not message.is_out:
                message.is_out = True
                message.deliveries += 1
                self._spawn("register", REGISTER_TIMEOUT, self._register(message), self._registered(message))
        due = [one for one in self.invocations if one[0] <= self.now]
        for one in due:
            self.invocations.remove(one)
            self._spawn("collect", COLLECTOR_TIMEOUT, self._collecting(one[1]))
        hinted = [one for one in self.hints if one[0] <= self.now]
        dispatchers = sum(process.kind == "dispatch" for process in self.processes)
        if dispatchers < 2 and (hinted or self.now >= self._next_tick):
            for one in hinted:
                self.hints.remove(one)
            if self.now >= self._next_tick:
                changed = self.store.writes != self._told
                self._told = self.store.writes
                self._spacing = TICK if changed else min(2 * self._spacing, timedelta(hours=12))
                self._next_tick = self.now + self._spacing
            names = frozenset(token.rpartition("-")[0] for _, token in hinted)
            self.counts["dispatches"] += 1
            self._spawn("dispatch", DISPATCHER_TIMEOUT, lambda: self.dispatcher().dispatch(names))

    def _jump(self) -> None:
        times = [self._next_tick]
        times += [message.due for message in self.messages]
        times += [at for at, _ in self.invocations] + [at for at, _ in self.hints]
        times += [at for at, _, _ in self.owner[-1:]]
        self.now = max(self.now + SECOND, min(times))

    def _spawn(
        self, kind: str, timeout: timedelta, work: Callable[[], Any], then: Callable[[bool], None] = lambda _: None
    ) -> None:
        self.processes.append(Process(kind, greenlet(work), self.now + timeout, then))

    def _step(self, process: Process) -> None:
        self._running = process
        try:
            process.greenlet.switch()
        except Killed:
            self._end(process, False)
        except errors.BatchVisionError as error:
            self.counts[type(error).__name__] += 1
            self._end(process, False)
        else:
            if process.greenlet.dead:
                self._end(process, True)
        finally:
            self._running = None

    def _end(self, process: Process, went_well: bool) -> None:
        self.processes.remove(process)
        process.then(went_well)

    # The functions.

    def send(self, key: str, delay: timedelta = timedelta(0), *, is_resent: bool = False) -> None:
        self.messages.append(Message(self.now + delay, key, is_resent))

    def _register(self, message: Message) -> Callable[[], None]:
        def work() -> None:
            registering = Registering(
                self.store,  # type: ignore[arg-type]
                self.results,
                self.bucket,  # type: ignore[arg-type]
                {name: {"config": self.config} for name in self.analyses},
                {},
                self.limits.max_minutes_per_day,
                self.write,
                self.clock,
                request_of=lambda analysis, settings, **_: {"analysis": analysis, **settings},
            )
            if (
                registering.look(message.key, may_owe_line=message.is_resent or message.deliveries > 1).outcome
                == "restless"
            ):
                self.send(message.key, MINUTE, is_resent=True)

        return work

    def _registered(self, message: Message) -> Callable[[bool], None]:
        def then(went_well: bool) -> None:
            message.is_out = False
            if went_well:
                self.messages.remove(message)
            else:
                message.due = self.now + MINUTE

        return then

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.store,  # type: ignore[arg-type]
            lambda _: self.bucket,  # type: ignore[arg-type, return-value]
            self.service,
            self.invoke,
            self.limits,
            self.clock,
        )

    def invoke(self, record_id: str) -> None:
        self.point()
        for _ in range(self.random.choice((1, 1, 1, 2))):
            self.invocations.append((self.now + SECOND * self.random.choice((0, 0, 2, 100)), record_id))
        self.point()

    def _collecting(self, record_id: str) -> Callable[[], None]:
        def work() -> None:
            Finisher(
                self.store,  # type: ignore[arg-type]
                self.results,
                lambda _: self.bucket,  # type: ignore[arg-type, return-value]
                self.service.collect,
                self.write,
                self.look_again,
                MemoryMover(self) if self.leaves else None,
                self.clock,
            ).take(record_id)

        return work

    def look_again(self, _: str, key: str) -> None:
        self.point()
        self.send(key, MINUTE, is_resent=True)
        self.point()

    def clock(self) -> datetime:
        return self.now

    def write(self, lines: list[dict[str, Any]]) -> None:
        self.point()
        self.lines += lines
        self.point()

    # The promises.

    def check(self) -> None:
        by_token = Counter(job.token for job in self.service.jobs.values())
        if double := [token for token, jobs in by_token.items() if jobs > 1]:
            raise BrokenError(f"a job ran twice for one attempt: {double}")
        if more := [token for token in by_token if int(token.rpartition("-")[2]) > 2]:
            raise BrokenError(f"too many attempts: {more}")
        if self.service.mismatches:
            raise BrokenError(f"{self.service.mismatches} starts with another request under the same token")
        by_day: Counter[str] = Counter()
        for job in self.service.jobs.values():
            paid = minutes_of(self.bucket.videos[job.content].duration_seconds)
            by_day[job.reserved.day] += min(paid, job.reserved.minutes)  # more only where it was replaced this moment
        if over := {day: used for day, used in by_day.items() if used > self.limits.max_minutes_per_day}:
            raise BrokenError(f"more minutes than a day has: {over} of {self.limits.max_minutes_per_day}")
        if left := swept(self.store.kept, self.store.jobs).jobs:
            raise BrokenError(f"reserved for nothing: {left}")
        for key, versions in self.bucket.objects.items():
            self._check_key(key, versions[-1] if versions else None)

    def _check_key(self, key: str, current: Upload | None) -> None:
        result = self.results.kept.get(key)
        plan = self.store.plans.get(key)
        moved = plan.moved if plan else None
        for name, times in self.moved.items():
            if times > 1 or any(one and one.name == name for one in self.bucket.objects[self.bucket.keys[name]]):
                raise BrokenError(f"{name} was moved and is there")
        if current is None and not (moved and result):
            if result and not self.leaves:
                raise BrokenError(f"{key} has a result and no object")
            return
        if result is None:
            raise BrokenError(f"{key} has no result: {plan}")
        _, upload, _, content = result
        if current and current.name != upload and not (moved and upload == moved.upload):
            raise BrokenError(f"the result of {key} is of {upload}, and {current.name} is there")
        if current and moved and current.last_modified > moved.last_modified and current.name != upload:
            raise BrokenError(f"{key} was uploaded anew, and its result is of {upload}")
        for told in content["analyses"].values():
            job = self.service.jobs.get(told["job_id"]) if told["job_id"] else None
            if told["status"] == "done" and (job is None or job.content != upload):
                raise BrokenError(f"the result of {key} was made from {job and job.content}, and is of {upload}")
        if self.leaves and content["status"] != "failed" and current and current.name == upload:
            raise BrokenError(f"{key} is finished and has not left its bucket")
        lines = [line for line in self.lines if line["key"] == key]
        if not lines:
            raise BrokenError(f"the catalog does not know {key}")
        newest = max(lines, key=lambda line: line["recorded_at"])
        if newest["status"] != content["status"]:
            raise BrokenError(f"the catalog says that {key} is {newest['status']}, and it is {content['status']}")


class MemoryStore:
    """What `VideoStore` is, in memory; an ETag is the content itself."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.plans: dict[str, Plan] = {}
        self.jobs: dict[str, Record] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.marked: dict[str, datetime] = {}
        self.kept = Reservations()
        self.writes = 0

    def plan(self, bucket: str, key: str) -> Held[Plan]:
        self._world.point()
        plan = self.plans.get(key)
        return Held(plan, plan) if plan else Held(Plan(bucket, key), "")  # type: ignore[arg-type]

    def write_plan(self, plan: Plan, etag: Any) -> Any:
        self._world.point()
        if self.plans.get(plan.key, "") != etag:
            return ""
        self.writes += 1
        self.plans[plan.key] = plan
        self._world.point()
        return plan

    def record(self, record_id: str) -> Held[Record] | None:
        self._world.point()
        record = self.jobs.get(record_id)
        return Held(record, record) if record else None  # type: ignore[arg-type]

    def records(self, record_ids: Iterable[str]) -> list[Held[Record] | None]:
        return [self.record(record_id) for record_id in record_ids]

    def write_record(self, record: Record, etag: Any) -> Held[Record] | None:
        self._world.point()
        there = self.jobs.get(record.record_id)
        if (there or "") != etag:
            return None
        if there and there.has_ended and there.state is not record.state:
            raise BrokenError(f"{record.key} ended as {there.state}, and then as {record.state}")
        self.writes += 1
        self.jobs[record.record_id] = record
        self._world.point()
        return Held(record, record)  # type: ignore[arg-type]

    def reservations(self) -> Held[Reservations]:
        self._world.point()
        return Held(self.kept, self.kept)  # type: ignore[arg-type]

    def write_reservations(self, reservations: Reservations, etag: Any) -> bool:
        self._world.point()
        if self.kept != etag:
            return False
        return self._reserve(reservations)

    def _reserve(self, reservations: Reservations) -> bool:
        limits = self._world.limits
        is_more = bool(reservations.jobs.keys() - self.kept.jobs.keys())
        if is_more and (
            reservations.minutes > limits.max_minutes_per_day or len(reservations.jobs) > limits.max_concurrent_jobs
        ):
            raise BrokenError(f"more is reserved than there is: {reservations}")
        if reservations.minutes < 0:
            raise BrokenError(f"more is given back than was reserved: {reservations}")
        self.kept = reservations
        self._world.point()
        return True

    def put_marker(self, key: str) -> None:
        self._world.point()
        self.marked[key] = self._world.now
        self._world.point()

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._world.point()
            self.marked.pop(key, None)
            self._world.point()

    def markers(self, prefix: str = OPEN) -> Iterator[Marker]:
        self._world.point()
        listed = sorted(one for one in self.marked.items() if one[0].startswith(prefix))
        return iter([Marker(key, marked_record(key), at) for key, at in listed])

    def answers(self, record: Record) -> dict[str, Any] | None:
        self._world.point()
        return self.files.get(record.record_id)

    def delete_job(self, record_id: str) -> None:
        self._world.point()
        self.files.pop(record_id, None)
        self._world.point()
        self.jobs.pop(record_id, None)


class MemoryBucket:
    """What `VideosBucket` is, in memory, and what its owner and the mover do."""

    name = BUCKET

    def __init__(self, world: World) -> None:
        self._world = world
        self.objects: dict[str, list[Upload | None]] = {}
        self.videos: dict[str, Video] = {}
        self.keys: dict[str, str] = {}

    def upload(self, key: str) -> None:
        world, chance = self._world, self._world.random.random
        name = f"{key}:{len(self.videos)}"
        length = world.random.choice((20, 100, 1500, 3000))
        video = Video(length, is_told=chance() < 0.9)
        if world.limits.max_minutes_per_day < 360:
            video.is_told = True  # else it is refused
        if chance() < 0.1:
            video.refusal = Fault("VideoCodecError", "coded otherwise")
        video.is_rejected = chance() < 0.05
        self.videos[name], self.keys[name] = video, key
        new = Upload(name, name if world.is_versioned else None, "etag", world.now.replace(microsecond=0), 1)
        self.objects[key] = [*(self.objects.get(key, []) if world.is_versioned else []), new]
        self._send(key)

    def delete(self, key: str) -> None:
        if self._world.is_versioned:
            self.objects.setdefault(key, []).append(None)
        else:
            self.objects[key] = []
        if not self._world.leaves:  # S3 tells of uploads only where we make its notification
            self._send(key)

    def back(self, key: str) -> None:
        """Remove the newest version or delete marker; in a bucket without versions, delete."""
        if not self._world.is_versioned:
            self.delete(key)
        elif self.objects.get(key) and (not self._world.leaves or self.objects[key][-1] is None):
            self.objects[key].pop()
            self._send(key)  # in a drop-off bucket, the operator's retry

    def _send(self, key: str) -> None:
        delays = (0, 0, 1, 5, 60)
        for _ in range(self._world.random.choice((1, 1, 1, 1, 2))):
            self._world.send(key, SECOND * self._world.random.choice(delays))

    def current(self, key: str) -> Upload | None:
        versions = self.objects.get(key)
        return versions[-1] if versions else None

    def find(self, key: str) -> Upload | None:
        self._world.point()
        found = self.current(key)
        if self._world.is_untimely():
            # The owner acts at the worst moment, and whoever hears of it is faster than who has just looked.
            getattr(self, self._world.random.choice(("upload", "delete")))(key)
            self._world.rest()
        return found

    def read_header(self, key: str, upload: Upload, _: int) -> Header:
        self._world.point()
        if not any(one and one.name == upload.name for one in self.objects[key]):
            raise errors.ImageGoneError(key)
        video = self.videos[upload.name]
        return Header(VideoMetadata(video.duration_seconds if video.is_told else None), video.refusal)


class MemoryMover:
    """What `Mover` is, in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def move(self, _: str, key: str, upload: Upload, __: str) -> None:
        world = self._world
        world.point()
        if not any(one and one.name == upload.name for one in world.bucket.objects[key]):
            return
        world.point()
        left = [one for one in world.bucket.objects[key] if one is None or one.name != upload.name]
        world.moved[upload.name] += len(left) < len(world.bucket.objects[key])
        world.bucket.objects[key] = left
        world.point()


class MemoryResults:
    """What `Results` is, in memory."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kept: dict[str, tuple[str, str, str, dict[str, Any]]] = {}
        self._written = 0

    def head(self, key: str) -> ResultHead | None:
        self._world.point()
        there = self.kept.get(key)
        return ResultHead(*there[:3]) if there else None

    def write(self, key: str, result: Mapping[str, Any], upload: str, seen: ResultHead | None) -> datetime | None:
        self._world.point()
        there = self.kept.get(key)
        if (there[0] if there else None) != (seen.etag if seen else None):
            return None
        self._written += 1
        self.kept[key] = (str(self._written), upload, result["fingerprint"], dict(result))
        at = self._answered()
        self._world.point()
        return at

    def delete(self, key: str) -> datetime:
        self._world.point()
        self.kept.pop(key, None)
        at = self._answered()
        self._world.point()
        return at

    def read(self, key: str) -> tuple[dict[str, Any] | None, datetime]:
        self._world.point()
        there = self.kept.get(key)
        return (there[3] if there else None), self._answered()

    def _answered(self) -> datetime:
        # A millisecond for each change, so that the newest line is told from the one before.
        self._world.now += timedelta(milliseconds=1)
        return self._world.now


class MemoryService:
    """The account's jobs, of which others use some."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.jobs: dict[str, Job] = {}
        self.mismatches = 0
        self._tokens: dict[str, tuple[datetime, str]] = {}
        self._untold: list[str] = []
        self._ended: set[str] = set()

    def start(self, analysis: str, request: Mapping[str, Any], token: str) -> str:
        world, chance = self._world, self._world.random.random
        world.point()
        if not world.is_calm and chance() < 0.03:
            kinds = (errors.RateError, errors.AccessDeniedError, errors.ServiceUnavailableError)
            raise world.random.choice(kinds)("not now")
        running = sum(job.ends_at is None or job.ends_at > world.now for job in self.jobs.values())
        is_full = running + world.foreign >= world.account_limit
        if world.is_limit_first and is_full:
            raise errors.JobLimitError("full")
        known = self._tokens.get(token)
        if known and world.now - known[0] < 7 * DAY:
            job_id = known[1]
            if self.jobs[job_id].request != request:
                self.mismatches += 1
                raise errors.RequestMismatchError("another request")
        else:
            if is_full:
                raise errors.JobLimitError("full")
            job_id = self._run(request, token)
        if not world.is_calm and chance() < 0.02:
            raise errors.ServiceUnavailableError("the answer is lost")
        world.point()
        return job_id

    def _run(self, request: Mapping[str, Any], token: str) -> str:
        world, chance = self._world, self._world.random.random
        record = world.store.jobs[token.rpartition("-")[0]]
        upload = world.bucket.current(record.key)
        if world.is_versioned:  # by version
            there = [one for one in world.bucket.objects[record.key] if one and one.name == record.upload]
            upload = there[0] if there else None
        if upload is None:
            raise errors.VideoObjectError("no such object")
        if token not in world.store.kept.jobs:
            raise BrokenError(f"{token} is started without a reservation")
        job_id = f"job-{len(self.jobs)}"
        video = world.bucket.videos[upload.name]
        status, message = JobStatus.SUCCEEDED, ""
        if video.is_rejected:
            status, message = JobStatus.REJECTED, "Unsupported codec/format."
        elif chance() < 0.1:
            status, message = JobStatus.FAILED, "Internal error"
        hangs = chance() < 0.02
        ends_at = world.now + SECOND * world.random.choice((0, 30, 90, 400, 900))
        look = JobLook(status, message, VideoMetadata(video.duration_seconds))
        reserved = world.store.kept.jobs[token]
        if upload.name == record.upload and minutes_of(video.duration_seconds) > reserved.minutes:
            raise BrokenError(f"{token} is paid for more than was reserved")
        self.jobs[job_id] = Job(token, request, upload.name, world.now, None if hangs else ends_at, look, reserved)
        self._tokens[token] = (world.now, job_id)
        if not hangs:
            self._untold.append(job_id)
        if chance() < 0.1:
            world.hints.append((world.now, token))  # early
        return job_id

    def tell(self) -> None:
        """Send the messages of jobs that have ended."""
        world = self._world
        if world.now > BEGIN + 400 * DAY:
            raise BrokenError("time is over")
        left = []
        for job_id in self._untold:
            job = self.jobs[job_id]
            if job.ends_at and job.ends_at <= world.now:
                for _ in range(world.random.choice((0, 1, 1, 1, 2))):
                    world.hints.append((world.now + SECOND * world.random.choice((0, 1, 30, 600)), job.token))
            else:
                left.append(job_id)
        self._untold = left

    def look(self, _: str, job_id: str) -> JobLook:
        world = self._world
        world.point()
        if not world.is_calm and world.random.random() < 0.02:
            raise world.random.choice((errors.RateError, errors.ServiceUnavailableError))("not now")
        job = self.jobs[job_id]
        if job.ends_at is None or job.ends_at > world.now:
            return JobLook(JobStatus.IN_PROGRESS)
        if world.now - job.ends_at > 7 * DAY:
            raise errors.JobNotFoundError(job_id)
        return job.look

    def page(self, *_: Any) -> Any:
        raise NotImplementedError

    def collect(self, record: Record) -> Any:
        world = self._world
        world.point()
        look = self.look(record.analysis, str(record.job_id))
        if look.status is not JobStatus.SUCCEEDED:
            raise BrokenError(f"{record.record_id} is collected and has not succeeded")
        if not world.is_calm and world.random.random() < 0.05:
            return None
        world.store.files[record.record_id] = {
            "segments": [],
            "detections": 0,
            "truncated": False,
            "model_version": "3.0",
        }
        world.point()
        return SimpleNamespace(metadata=look.metadata)
