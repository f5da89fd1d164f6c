"""A model checker of `core.index`: functions that write the catalog, and compactors that interleave in every way.

A writer takes its key from its clock, and writes at any time while it lives, or never. A compactor does what
`runs.compacting.compact` does, one request at a time; it may stop reading after any object, as when its time is up, and
die between any two steps. What it decides, it asks the very functions of `core.index`. Somebody may delete the index at
any time, object by object, in any order, or stop in the middle.

In every state in which the cursor is true, each catalog object up to it is in exactly one of its segments. While nobody
deletes anything, no object is in two segments, and the cursor never goes back. When all is quiet, one more call, later,
leaves each object in exactly one of the cursor's segments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from batch_vision.aws.catalog import catalog_key
from batch_vision.core.index import (
    BEHIND,
    CURSOR,
    Cursor,
    Header,
    Limits,
    fits,
    is_due,
    is_settled,
    segment_key,
)

_BEGIN = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
_TICK = timedelta(minutes=15)  # as long as a function may live
_LATER = 1000
_STEPS = 100  # that a call has time for
_LIMITS = Limits(most_lines=2, few_objects=2)  # of objects of one line


@dataclass(frozen=True)
class Rules:
    """What a compactor goes by; each of these is wrong in a mutant."""

    behind: timedelta = BEHIND
    is_true: Callable[[Cursor, set[tuple[str, str]]], bool] = Cursor.is_true
    puts_on_condition: bool = True
    moves_on_condition: bool = True
    name_of: Callable[[str, str], str] = lambda first_key, _last_key: segment_key(first_key)


class Compactor(NamedTuple):
    """How far a compactor is, and what it knows."""

    step: str
    horizon: str
    seen: Cursor = Cursor()  # the cursor's object
    cursor: Cursor = Cursor()  # what it stands for: an empty one, if it is not true
    there: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()
    target: Cursor = Cursor()


class State(NamedTuple):
    """Everything there is; segments by their names, in order, with what stands for their ETags: the keys they have."""

    now: int
    hung: tuple[str, ...]
    catalog: tuple[str, ...]
    cursor: Cursor
    segments: tuple[tuple[str, str], ...]
    compactors: tuple[Compactor, ...]
    ticks: int
    starts: int
    crashes: int
    is_kept: bool = True  # nobody deletes anything
    deleted: tuple[str, ...] | None = None  # what somebody still deletes; None before


@cache
def key_of(tick: int, name: str) -> str:
    return catalog_key(_BEGIN + tick * _TICK, name)


# Two objects of a day that ends, and two of it that functions still hold; later another one, of the next day.
FIRST = State(
    now=1,
    hung=(key_of(0, "m"), key_of(1, "b")),
    catalog=(key_of(0, "a"), key_of(0, "z")),
    cursor=Cursor(),
    segments=(),
    compactors=(),
    ticks=3,
    starts=2,
    crashes=1,
)
# Two objects of a day that has ended, and an index that is deleted. (Three find no more, in ten times as long.)
DELETED = FIRST._replace(
    now=9, hung=(), catalog=(key_of(0, "a"), key_of(0, "b")), ticks=0, starts=2, crashes=1, is_kept=False
)


class Model:
    """The states that follow from each."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def following(self, state: State) -> list[State]:
        found = []
        if state.ticks:
            # Whoever took its key more than a tick ago is dead then. Another one begins to write.
            now = state.now + 1
            living = tuple(key for key in state.hung if key >= catalog_key(_BEGIN + (now - 1) * _TICK))
            hung = (*living, key_of(now, "n")) if now == 2 else living
            found.append(state._replace(now=now, hung=hung, ticks=state.ticks - 1))
        for key in state.hung:
            hung = tuple(one for one in state.hung if one != key)
            found.append(state._replace(hung=hung, catalog=tuple(sorted((*state.catalog, key)))))
        if state.starts and len(state.compactors) < 2:
            ((_, [begun]),) = self._stepped(state, self._started(state.now))
            found.append(state._replace(compactors=_sorted(*state.compactors, begun), starts=state.starts - 1))
        if not state.is_kept and state.deleted is None and state.segments:
            found.append(state._replace(deleted=(CURSOR, *(name for name, _ in state.segments))))
        for name in state.deleted or ():
            left = tuple(one for one in state.deleted or () if one != name)
            segments = tuple(segment for segment in state.segments if segment[0] != name)
            cursor = Cursor() if name == CURSOR else state.cursor
            found.append(state._replace(cursor=cursor, segments=segments, deleted=left))
        for place, compactor in enumerate(state.compactors):
            others = state.compactors[:place] + state.compactors[place + 1 :]
            for changed, after in self._stepped(state, compactor):
                found.append(changed._replace(compactors=_sorted(*others, *after)))
            if state.crashes and compactor.step != "list segments":  # dying before is never having begun
                found.append(state._replace(compactors=others, crashes=state.crashes - 1))
        return found

    def finished(self, state: State) -> State:
        """Return what one more call makes of a state, alone and later."""
        state, compactors = state._replace(hung=()), [self._started(_LATER)]
        for _ in range(_STEPS):
            if compactors:
                state, compactors = self._stepped(state, compactors[0])[-1]
        return state

    def _started(self, now: int) -> Compactor:
        return Compactor("read cursor", catalog_key(_BEGIN + now * _TICK - self._rules.behind))

    def _stepped(self, state: State, one: Compactor) -> list[tuple[State, list[Compactor]]]:
        """Return what a step may make of the state, and of the compactor."""
        match one.step:
            case "read cursor":
                return [(state, [one._replace(step="list segments", seen=state.cursor)])]
            case "list segments":
                cursor = one.seen if self._rules.is_true(one.seen, {*state.segments}) else Cursor()
                return [(state, [one._replace(step="read objects", cursor=cursor, there=state.segments)])]
            case "read objects":
                keys = tuple(key for key in state.catalog if key > one.cursor.last_key and is_settled(key, one.horizon))
                if keys and (etag := dict(one.there).get(segment_key(keys[0]))):
                    return [(state, [_about_to_move(one, etag)])]
                if not is_due(keys, one.horizon, _LIMITS):
                    return [(state, [])]
                many = 1
                while many < len(keys) and fits(keys[0], keys[many], many, 1, _LIMITS):
                    many += 1
                return [
                    (state, [one._replace(step="put", there=(), keys=keys[:number])]) for number in range(1, many + 1)
                ]
            case "put":
                segments, name = dict(state.segments), self._rules.name_of(one.keys[0], one.keys[-1])
                if self._rules.puts_on_condition and name in segments:
                    return [(state, [_begun_again(one)])]
                segments[name] = etag = " ".join(one.keys)
                return [(state._replace(segments=tuple(sorted(segments.items()))), [_about_to_move(one, etag)])]
            case "move cursor":
                if self._rules.moves_on_condition and state.cursor != one.seen:
                    return [(state, [_begun_again(one)])]
                return [(state._replace(cursor=one.target), [_begun_again(one)])]
        raise AssertionError(one.step)


def _about_to_move(one: Compactor, etag: str) -> Compactor:
    keys = etag.split()
    target = one.cursor.moved(Header(keys[0], keys[-1], len(keys)), etag)
    return Compactor("move cursor", one.horizon, seen=one.seen, target=target)


def _begun_again(one: Compactor) -> Compactor:
    return Compactor("read cursor", one.horizon)


def _sorted(*compactors: Compactor) -> tuple[Compactor, ...]:
    return tuple(sorted(compactors, key=repr))


def _keys_in(segments: tuple[tuple[str, str], ...]) -> list[str]:
    return [key for _, etag in segments for key in etag.split()]


def what_is_wrong(state: State, rules: Rules) -> str:
    """Return what must not be in any state; empty where nothing is wrong."""
    if rules.is_true(state.cursor, {*state.segments}):
        there = _keys_in(tuple(segment for segment in state.cursor.segments if segment in state.segments))
        if any(key <= state.cursor.last_key and key not in there for key in state.catalog):
            return "lost"
        if len(set(there)) < len(there):
            return "doubled"
    in_all = _keys_in(state.segments)
    return "doubled" if state.is_kept and len(set(in_all)) < len(in_all) else ""


def explore(rules: Rules, begin: State = FIRST) -> tuple[int, int, set[str]]:
    """Visit every state, or those until one is wrong; return how many, how many quiet ends, and what is wrong."""
    model = Model(rules)
    seen, waiting, ends, wrong = {begin}, [begin], 0, set()
    known: dict[tuple[object, ...], str] = {}
    while waiting and not wrong:
        state = waiting.pop()
        content = (state.catalog, state.cursor, state.segments)
        if content not in known:
            known[content] = what_is_wrong(state, rules)
        if known[content]:
            wrong.add(known[content])
            continue
        if not (state.compactors or state.hung or state.deleted):
            ends += 1
            if ("end", content) not in known:
                end = model.finished(state).cursor
                known["end", content] = "" if _keys_in(end.segments) == [*state.catalog] else "not all at the end"
            wrong |= {known["end", content]} - {""}
        for after in model.following(state):
            if after.is_kept and after.cursor.last_key < state.cursor.last_key:
                wrong.add("gone back")
            elif after not in seen:
                seen.add(after)
                waiting.append(after)
    return len(seen), ends, wrong
