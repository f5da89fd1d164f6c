"""A model checker of `core.in_place`: one key, its owner, workers that interleave in every way, and the catalog.

The workers take each step as `advance` says. The owner of the bucket uploads and deletes, and in a versioned bucket
also removes the newest version or delete marker, so that what was under it is current again. Each change sends a
message, which is delivered in any order; one more is a duplicate. A worker may die between any two steps, or have the
answer to its write lost, so that the repetition of the write finds the condition false.

All is quiet when the owner is done, no message is left and no worker is at work. Then the result must be of the very
object that is there, or there must be none of either, and the newest line of the catalog must tell the same. The order
of the lines is that of the changes that they tell of, as the Date of S3's answers has it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from batch_vision.core.in_place import ENDS, Look, ResultHead, Step, advance, begin

Advance = Callable[[Look, Any], Look]


@dataclass(frozen=True)
class Bounds:
    """How much may happen.

    Attributes
    ----------
    is_versioned
        Whether the bucket keeps versions: then an upload is known by its version, and detected by it.
    is_hosted
        Whether what needs the model is handed back by the worker that looks, and done by another one later.
    """

    operations: int
    workers: int
    is_versioned: bool = False
    is_hosted: bool = False
    duplicates: int = 1
    crashes: int = 1


class Result(NamedTuple):
    """A result: which upload it says it is of, and which it was really made from."""

    upload: int
    content: int


class Worker(NamedTuple):
    """A worker: its look, what it detected, and the newest line that it has to write."""

    look: int
    content: int
    line_rank: int  # 0 for none
    line: Result | None


class State(NamedTuple):
    """Everything there is.

    Attributes
    ----------
    versions
        Uploads of the key, the current one last; 0 is a delete marker. Without versioning at most one.
    rank
        Of the last change of the result; a line of a greater rank is newer.
    """

    versions: tuple[int, ...]
    operations: int
    result: Result | None
    rank: int
    catalog_rank: int
    catalog: Result | None
    messages: tuple[int, int, int]  # events, redeliveries, and chunks of a hosted model
    duplicates: int
    crashes: int
    workers: tuple[Worker, ...]  # those at work


_EVENT, _AGAIN, _CHUNK = range(3)
_READS = frozenset({Step.HEAD_SOURCE, Step.LOOK_AGAIN})
_DECIDED = ENDS | {Step.READ_RESULT, Step.WRITE_LINES}
_CURRENT, _OLD = "current", "old"


class Looks:
    """The looks that occur, as numbers, with what `advance` makes of each."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._numbers: dict[Look, int] = {}
        self.looks: list[Look] = []
        self.steps: list[Step] = []
        self._next: dict[tuple[int, Any], int] = {}
        self._outdated: dict[int, int] = {}

    def number(self, look: Look) -> int:
        # What no later step looks at is left out, so that looks that will act alike are one.
        if look.step in _DECIDED:
            look = look._replace(result=None, upload=None, rounds_left=0)
        elif look.step is Step.LOOK_AGAIN or look.step is Step.DELETE_RESULT:
            look = look._replace(result=None)
        elif look.step in (Step.DETECT, Step.WRITE_RESULT) and look.result:
            look = look._replace(result=look.result._replace(upload=""))
        if look not in self._numbers:
            self._numbers[look] = len(self.looks)
            self.looks.append(look)
            self.steps.append(look.step)
        return self._numbers[look]

    def after(self, number: int, answer: int | bool | None) -> int:
        """Return the look after an answer, in which an upload is a number."""
        found = self._next.get((number, answer))
        if found is None:
            step, told = self.steps[number], answer
            if step is Step.HEAD_RESULT:
                told = answer and ResultHead(_CURRENT, str(answer), "")  # type: ignore[assignment]
            elif step in _READS:
                told = answer and str(answer)  # type: ignore[assignment]
            found = self._next[number, answer] = self.number(self._advance(self.looks[number], told))
        return found

    def outdated(self, number: int) -> int:
        """Return the look when the result that it saw has changed since."""
        found = self._outdated.get(number)
        if found is None:
            look = self.looks[number]
            result = look.result and look.result._replace(etag=_OLD)
            found = self._outdated[number] = self.number(look._replace(result=result))
        return found


class Model:
    """The states that follow from each."""

    def __init__(self, bounds: Bounds, advance: Advance = advance) -> None:
        self.bounds = bounds
        self._looks = Looks(advance)
        self._workers: dict[Worker, int] = {}
        number = self._looks.number
        asks = not bounds.is_hosted
        self._begin = (
            number(begin(may_owe_line=False, asks_model=asks)),
            number(begin(may_owe_line=True, asks_model=asks)),
            number(begin(may_owe_line=True)),
        )

    def first(self) -> State:
        return State((), self.bounds.operations, None, 0, 0, None, (0, 0, 0), self.bounds.duplicates,
                     self.bounds.crashes, ())  # fmt: skip

    def moves(self, state: State) -> list[tuple[str, int]]:
        """Everything that may happen next."""
        moves: list[tuple[str, int]] = []
        if state.operations:
            moves.append(("upload", 0))
            if state.versions and state.versions[-1]:
                moves.append(("delete", 0))
            if state.versions and self.bounds.is_versioned:
                moves.append(("remove", 0))
        if state.duplicates:
            moves += [("duplicate", kind) for kind in range(3) if state.messages[kind]]
        if len(state.workers) < self.bounds.workers:
            moves += [("take", kind) for kind in range(3) if state.messages[kind]]
        for place, worker in enumerate(state.workers):
            moves.append(("step", place))
            if state.crashes:
                moves.append(("die", place))
                if self._looks.steps[worker.look] is Step.WRITE_RESULT and self._holds(state, worker):
                    moves.append(("lose", place))
        return moves

    def after(self, state: State, move: tuple[str, int]) -> State:
        name, which = move
        match name:
            case "upload":
                upload = self.bounds.operations - state.operations + 1
                return self._changed(state, (*(state.versions if self.bounds.is_versioned else ()), upload))
            case "delete":
                return self._changed(state, (*state.versions, 0) if self.bounds.is_versioned else ())
            case "remove":
                return self._changed(state, state.versions[:-1])
            case "duplicate":
                return state._replace(messages=_sent(state.messages, which), duplicates=state.duplicates - 1)
            case "take":
                # The first thing that a worker does is head the result: dying before is dying of the message.
                look = self._looks.after(self._begin[which], state.result and state.result.upload)
                worker = Worker(look, 0, 0, None)
                return state._replace(messages=_sent(state.messages, which, -1), workers=(*state.workers, worker))
            case "step":
                return self._stepped(state, which, state.workers[which])
            case "die":
                return self._gone(state, which, _CHUNK if self._is_of_chunk(state.workers[which]) else _AGAIN)._replace(
                    crashes=state.crashes - 1
                )
            case "lose":
                worker = state.workers[which]
                written = self._result_changed(state, Result(self._upload(worker), worker.content))
                worker = worker._replace(look=self._looks.after(worker.look, False))
                return _put(written, which, worker)._replace(crashes=state.crashes - 1)
        raise AssertionError(name)

    def is_quiet(self, state: State) -> bool:
        return not (state.operations or state.workers or any(state.messages))

    def is_right(self, state: State) -> bool:
        """Whether a quiet state is as it must be."""
        upload = state.versions[-1] if state.versions else 0
        wanted = Result(upload, upload) if upload else None
        return state.result == wanted and state.catalog == wanted

    def canonical(self, state: State) -> State:
        """Return what is the same state for all that may follow: workers in order, ranks without gaps."""
        ranks = {state.rank, state.catalog_rank}
        workers = []
        for worker in state.workers:
            if worker.line_rank and worker.line_rank <= state.catalog_rank:  # no reader will ever see it
                worker = worker._replace(line_rank=0, line=None)
            ranks.add(worker.line_rank or state.catalog_rank)
            workers.append(worker)
        place = {rank: place for place, rank in enumerate(sorted(ranks), start=1)}
        place[0] = place.get(0, 0)
        workers = [worker._replace(line_rank=worker.line_rank and place[worker.line_rank]) for worker in workers]
        return state._replace(
            rank=place[state.rank],
            catalog_rank=place[state.catalog_rank],
            workers=tuple(sorted(workers, key=_order)),
        )

    def packed(self, state: State) -> bytes:
        """Return a state in little memory: there are millions."""
        numbers, workers = self._workers, []
        for worker in state.workers:
            workers += divmod(numbers.setdefault(worker, len(numbers)), 256)
        result, catalog = state.result or (0, 0), state.catalog or (0, 0)
        counts = (state.operations, state.rank, state.catalog_rank, state.duplicates, state.crashes)
        return bytes((*result, *catalog, *counts, *state.messages, len(workers), *workers, *state.versions))

    def _changed(self, state: State, versions: tuple[int, ...]) -> State:
        """The owner changed the bucket, and a message tells of it."""
        return state._replace(
            versions=versions, operations=state.operations - 1, messages=_sent(state.messages, _EVENT)
        )

    def _stepped(self, state: State, place: int, worker: Worker) -> State:
        step, after = self._looks.steps[worker.look], self._looks.after
        current = state.versions[-1] if state.versions else 0
        match step:
            case Step.HEAD_RESULT:
                look = after(worker.look, state.result and state.result.upload)
                return _put(state, place, worker._replace(look=look))
            case Step.HEAD_SOURCE | Step.LOOK_AGAIN:
                return _put(state, place, worker._replace(look=after(worker.look, current or None)))
            case Step.DETECT:
                upload = self._upload(worker)
                # By version where there is one; else what is there now, which may be another upload.
                content = (upload if upload in state.versions else 0) if self.bounds.is_versioned else current
                return _put(state, place, worker._replace(look=after(worker.look, bool(content)), content=content))
            case Step.WRITE_RESULT:
                if not self._holds(state, worker):
                    return _put(state, place, worker._replace(look=after(worker.look, False), content=0))
                result = Result(self._upload(worker), worker.content)
                state = self._result_changed(state, result)
                return _put(state, place, Worker(after(worker.look, True), 0, state.rank, result))
            case Step.DELETE_RESULT:
                if state.result:
                    state = self._result_changed(state, None)
                return _put(state, place, Worker(after(worker.look, True), 0, state.rank, None))
            case Step.READ_RESULT:
                return _put(state, place, Worker(after(worker.look, True), 0, state.rank, state.result))
            case Step.WRITE_LINES:
                if worker.line_rank > state.catalog_rank:
                    state = state._replace(catalog_rank=worker.line_rank, catalog=worker.line)
                return _put(state, place, Worker(after(worker.look, True), 0, 0, None))
            case Step.ACKNOWLEDGE:
                return self._gone(state, place)
            case Step.SEND_ANEW:
                return self._gone(state, place, _CHUNK if self._is_of_chunk(worker) else _AGAIN)
            case Step.HAND_BACK:
                return self._gone(state, place, _CHUNK)
        raise AssertionError(step)

    def _is_of_chunk(self, worker: Worker) -> bool:
        return self.bounds.is_hosted and self._looks.looks[worker.look].asks_model

    def _upload(self, worker: Worker) -> int:
        return int(self._looks.looks[worker.look].upload or 0)

    def _holds(self, state: State, worker: Worker) -> bool:
        """Whether the condition of the worker's write holds."""
        seen = self._looks.looks[worker.look].result
        return state.result is None if seen is None else state.result is not None and seen.etag == _CURRENT

    def _result_changed(self, state: State, result: Result | None) -> State:
        outdated = self._looks.outdated
        workers = tuple(worker._replace(look=outdated(worker.look)) for worker in state.workers)
        top = max(state.rank, state.catalog_rank)
        return state._replace(result=result, rank=top + 1, workers=workers)

    def _gone(self, state: State, place: int, sent: int | None = None) -> State:
        """The worker is gone, with a message in place of its own where one is named."""
        messages = state.messages if sent is None else _sent(state.messages, sent)
        return state._replace(messages=messages, workers=state.workers[:place] + state.workers[place + 1 :])


def _sent(messages: tuple[int, int, int], kind: int, count: int = 1) -> tuple[int, int, int]:
    changed = list(messages)
    changed[kind] += count
    return tuple(changed)  # type: ignore[return-value]


def _put(state: State, place: int, worker: Worker) -> State:
    return state._replace(workers=(*state.workers[:place], worker, *state.workers[place + 1 :]))


def _order(worker: Worker) -> tuple[Any, ...]:
    return (worker.look, worker.content, worker.line_rank, worker.line or ())


@dataclass(frozen=True)
class Found:
    """What a search found: how many states, how many quiet ends, and those that are wrong."""

    states: int
    ends: int
    wrong: list[State]


def explore(model: Model) -> Found:
    """Visit every state."""
    first = model.canonical(model.first())
    seen, waiting, ends, wrong = {model.packed(first)}, [first], 0, []
    while waiting:
        state = waiting.pop()
        moves = model.moves(state)
        if model.is_quiet(state):
            ends += 1
            if not model.is_right(state):
                wrong.append(state)
        for move in moves:
            after = model.canonical(model.after(state, move))
            packed = model.packed(after)
            if packed not in seen:
                seen.add(packed)
                waiting.append(after)
    return Found(len(seen), ends, wrong)


def walk(bounds: Bounds, seed: int, walks: int) -> Iterator[tuple[list[tuple[str, int]], State]]:
    """Walk at random until all is quiet, so often, and return each way and its end."""
    model, chance = Model(bounds), random.Random(seed)
    for _ in range(walks):
        state, way = model.first(), []
        while moves := model.moves(state):
            move = moves[int(chance.random() * len(moves))]
            way.append(move)
            state = model.after(state, move)
        yield way, state
