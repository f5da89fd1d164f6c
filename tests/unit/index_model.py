"""A model checker of `core.index`: functions that write the catalog, and compactors that interleave in every way.

A writer takes its key from its clock, and writes at any time while it lives, or never. A compactor does what
`runs.compacting.compact` does, one request at a time; it may stop reading after any object, as when its time is up, and
die between any two steps. What it decides, it asks the very functions of `core.index`.

In every state each catalog object up to the cursor is in a segment, and none is in two; the cursor never goes back.
When all is quiet, one more call, later, leaves each object in exactly one segment.
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
    Header,
    Limits,
    begin_after,
    fits,
    is_due,
    is_forward,
    is_settled,
    segment_key,
)

_BEGIN = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
_TICK = timedelta(minutes=15)  # as long as a function may live
_LATER = 1000
_LIMITS = Limits(most_lines=2, few_objects=2)  # of objects of one line


@dataclass(frozen=True)
class Rules:
    """What a compactor goes by; each of these is wrong in a mutant."""

    behind: timedelta = BEHIND
    is_forward: Callable[[str, str], bool] = is_forward
    puts_on_condition: bool = True
    name_of: Callable[[str, str], str] = lambda first_key, _last_key: segment_key(first_key)


class Compactor(NamedTuple):
    """How far a compactor is, and what it knows."""

    step: str
    horizon: str
    place: str = ""
    keys: tuple[str, ...] = ()
    target: str = ""
    seen: str = ""


class State(NamedTuple):
    """Everything there is; segments by their names, in order."""

    now: int
    hung: tuple[str, ...]
    catalog: tuple[str, ...]
    cursor: str
    segments: tuple[tuple[str, tuple[str, ...]], ...]
    compactors: tuple[Compactor, ...]
    ticks: int
    starts: int
    crashes: int


@cache
def key_of(tick: int, name: str) -> str:
    return catalog_key(_BEGIN + tick * _TICK, name)


# Two objects of a day that ends, and two of it that functions still hold; later another one, of the next day.
FIRST = State(
    now=1,
    hung=(key_of(0, "m"), key_of(1, "b")),
    catalog=(key_of(0, "a"), key_of(0, "z")),
    cursor="",
    segments=(),
    compactors=(),
    ticks=3,
    starts=2,
    crashes=1,
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
        for place, compactor in enumerate(state.compactors):
            others = state.compactors[:place] + state.compactors[place + 1 :]
            for changed, after in self._stepped(state, compactor):
                found.append(changed._replace(compactors=_sorted(*others, *after)))
            if state.crashes and compactor.step != "find segments":  # dying before is never having begun
                found.append(state._replace(compactors=others, crashes=state.crashes - 1))
        return found

    def finished(self, state: State) -> State:
        """Return what one more call makes of a state, alone and later."""
        state, compactors = state._replace(hung=()), [self._started(_LATER)]
        while compactors:
            state, compactors = self._stepped(state, compactors[0])[-1]
        return state

    def _started(self, now: int) -> Compactor:
        return Compactor("read cursor", catalog_key(_BEGIN + now * _TICK - self._rules.behind))

    def _stepped(self, state: State, one: Compactor) -> list[tuple[State, list[Compactor]]]:
        """Return what a step may make of the state, and of the compactor."""
        match one.step:
            case "read cursor":
                return [(state, [one._replace(step="find segments", place=state.cursor)])]
            case "find segments":
                name, keys = state.segments[-1] if state.segments else ("", ())
                is_after = keys and (not one.place or name > segment_key(one.place))
                place = begin_after(one.place, Header(keys[0], keys[-1], len(keys)) if is_after else None)
                if self._rules.is_forward(one.place, place):
                    return [(state, [one._replace(step="look at cursor", target=place)])]
                return [(state, [one._replace(step="read objects", place=place)])]
            case "read objects":
                keys = tuple(key for key in state.catalog if key > one.place and is_settled(key, one.horizon))
                if not is_due(keys, one.horizon, _LIMITS):
                    return [(state, [])]
                many = 1
                while many < len(keys) and fits(keys[0], keys[many], many, 1, _LIMITS):
                    many += 1
                return [(state, [one._replace(step="put", keys=keys[:number])]) for number in range(1, many + 1)]
            case "put":
                segments, name = dict(state.segments), self._rules.name_of(one.keys[0], one.keys[-1])
                if not self._rules.puts_on_condition or name not in segments:
                    segments[name] = one.keys
                after = one._replace(step="look at cursor", keys=(), target=segments[name][-1])
                return [(state._replace(segments=tuple(sorted(segments.items()))), [after])]
            case "look at cursor":
                gone_on = one._replace(step="read objects", target="", place=max(state.cursor, one.target))
                if not self._rules.is_forward(state.cursor, one.target):
                    return [(state, [gone_on])]
                # Or it is left where it is, after some tries.
                return [(state, [gone_on]), (state, [one._replace(step="move cursor", seen=state.cursor)])]
            case "move cursor":
                if state.cursor != one.seen:
                    return [(state, [one._replace(step="look at cursor", seen="")])]
                after = one._replace(step="read objects", place=max(one.seen, one.target), target="", seen="")
                return [(state._replace(cursor=one.target), [after])]
        raise AssertionError(one.step)


def _sorted(*compactors: Compactor) -> tuple[Compactor, ...]:
    return tuple(sorted(compactors))


def what_is_wrong(state: State) -> str:
    """Return what must not be in any state; empty where nothing is wrong."""
    there = [key for _, keys in state.segments for key in keys]
    if len(set(there)) < len(there):
        return "doubled"
    if any(key <= state.cursor and key not in there for key in state.catalog):
        return "lost"
    return ""


def explore(rules: Rules) -> tuple[int, int, set[str]]:
    """Visit every state, or those until one is wrong; return how many, how many quiet ends, and what is wrong."""
    model = Model(rules)
    seen, waiting, ends, wrong = {FIRST}, [FIRST], 0, set()
    known: dict[tuple[object, ...], str] = {}
    while waiting and not wrong:
        state = waiting.pop()
        content = (state.catalog, state.cursor, state.segments)
        if content not in known:
            known[content] = what_is_wrong(state)
        if known[content]:
            wrong.add(known[content])
            continue
        if not (state.compactors or state.hung):
            ends += 1
            if ("end", content) not in known:
                end = model.finished(state)
                in_segments = sorted(key for _, keys in end.segments for key in keys)
                known["end", content] = "" if in_segments == [*state.catalog] else "not all at the end"
            wrong |= {known["end", content]} - {""}
        for after in model.following(state):
            if after.cursor < state.cursor:
                wrong.add("gone back")
            elif after not in seen:
                seen.add(after)
                waiting.append(after)
    return len(seen), ends, wrong
