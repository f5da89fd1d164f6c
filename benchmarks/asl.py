"""Walks a Step Functions workflow in virtual time: the part of the Amazon States Language that ours uses (JSONPath).

The workflow is the one that is deployed, and what its tasks do is the caller's to say. Retries are not walked: a task
that fails leads to its Catch. Events of the history are counted as Step Functions writes them.
"""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import jmespath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CALL = re.compile(r"\s*(States\.\w+)\((.*)\)\s*$", re.DOTALL)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
}
_COMPARISON = re.compile(r"(?:Numeric|String|Boolean)(Equals|(?:Greater|Less)Than(?:Equals)?)(Path)?$")
_EVENTS = {"Pass": 2, "Choice": 2, "Wait": 2, "Succeed": 2, "Fail": 1, "Task": 5, "Parallel": 4, "Map": 5}


class AslError(Exception):
    """The workflow uses something that is not known here."""


class WorkflowFailed(Exception):  # noqa: N818 - named as Step Functions names such an end
    """The execution reached a Fail state."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error


class Execution:
    """One execution.

    Parameters
    ----------
    workflow
        The workflow, rendered.
    perform
        What a Task state does, and the reader of a Map's items: takes a resource and parameters, gives the result, or
        raises.
    wait
        What a Wait state does with its seconds.
    context
        The context object: what ``$$`` is.

    Attributes
    ----------
    events
        Events of the history so far. The children of a Distributed Map have histories of their own.
    entered
        How often each state was entered, those of children too: their sum are the transitions that are billed.
    concurrencies
        How many children each Map had at a time, at most.
    """

    def __init__(
        self,
        workflow: Mapping[str, Any],
        perform: Callable[[str, dict[str, Any]], Any],
        wait: Callable[[float], None],
        context: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._workflow = workflow
        self._perform = perform
        self._wait = wait
        self._context = context
        self.events = 2  # ExecutionStarted, and how it ended
        self.entered: Counter[str] = Counter()
        self.concurrencies: list[int] = []

    def run(self) -> Any:
        """Run to the end and give the output.

        Raises
        ------
        WorkflowFailed
            It ended in a Fail state.
        """
        return self._walk(self._workflow, {})

    def _walk(self, machine: Mapping[str, Any], data: Any) -> Any:
        name = machine["StartAt"]
        while True:
            state = machine["States"][name]
            self.entered[name] += 1
            self.events += _EVENTS[state["Type"]]
            name, data = self._enter(state, data)
            if name is None:
                return data

    def _enter(self, state: Mapping[str, Any], data: Any) -> tuple[str | None, Any]:
        kind = state["Type"]
        if kind == "Choice":
            for rule in state["Choices"]:
                if self._holds(rule, data):
                    return rule["Next"], data
            return state["Default"], data
        if kind == "Fail":
            error = self._path(state["ErrorPath"], data) if "ErrorPath" in state else state.get("Error", "")
            cause = self._path(state["CausePath"], data) if "CausePath" in state else state.get("Cause", "")
            raise WorkflowFailed(error, cause)
        following = None if state.get("End") else state.get("Next")
        if kind == "Succeed":
            return None, self._path(state.get("OutputPath", "$"), data)
        if kind == "Wait":
            self._wait(float(self._path(state["SecondsPath"], data) if "SecondsPath" in state else state["Seconds"]))
            return following, data
        try:
            result = self._result(kind, state, data)
        except (AslError, WorkflowFailed):
            raise
        except Exception as error:
            name = type(error).__name__
            for catch in state.get("Catch", []):
                if {name, "States.ALL"} & set(catch["ErrorEquals"]):
                    caught = {"Error": name, "Cause": json.dumps({"errorMessage": str(error)})}
                    return catch["Next"], _put(catch.get("ResultPath", "$"), data, caught)
            raise
        if "ResultSelector" in state:
            result = self._fill(state["ResultSelector"], result)
        return following, _put(state.get("ResultPath", "$"), data, result)

    def _result(self, kind: str, state: Mapping[str, Any], data: Any) -> Any:
        if kind == "Parallel":
            return [self._walk(branch, data) for branch in state["Branches"]]
        if kind == "Map":
            self.concurrencies.append(self._path(state["MaxConcurrencyPath"], data))
            reader = state["ItemReader"]
            items = self._perform(reader["Resource"], self._fill(reader["Parameters"], data))
            return [self._child(state, data, item) for item in items]
        data = self._path(state.get("InputPath", "$"), data)
        filled = self._fill(state["Parameters"], data) if "Parameters" in state else data
        if kind == "Pass":
            return state.get("Result", filled)
        return self._perform(state["Resource"], filled)

    def _child(self, state: Mapping[str, Any], data: Any, item: Any) -> Any:
        """Run a child of a Distributed Map."""
        context = {**self._context(), "Map": {"Item": {"Value": item}}}
        child = Execution(state["ItemProcessor"], self._perform, self._wait, lambda: context)
        try:
            return child._walk(state["ItemProcessor"], child._fill(state["ItemSelector"], data))
        finally:
            self.entered += child.entered

    def _fill(self, template: Any, data: Any) -> Any:
        if isinstance(template, dict):
            return {
                key.removesuffix(".$"): self._value(value, data) if key.endswith(".$") else self._fill(value, data)
                for key, value in template.items()
            }
        return [self._fill(value, data) for value in template] if isinstance(template, list) else template

    def _value(self, text: str, data: Any) -> Any:
        if call := _CALL.match(text):
            return _intrinsic(call[1], [self._value(part, data) for part in _split(call[2]) if part.strip()])
        text = text.strip()
        if text.startswith("$"):
            return self._path(text, data)
        return text[1:-1] if text.startswith("'") else json.loads(text)

    def _path(self, path: str, data: Any) -> Any:
        root = data
        if path.startswith("$$"):
            root, path = self._context(), path[1:]
        rest = path.removeprefix("$").removeprefix(".")
        return jmespath.search(rest, root) if rest else root

    def _holds(self, rule: Mapping[str, Any], data: Any) -> bool:
        if "And" in rule:
            return all(self._holds(one, data) for one in rule["And"])
        if "Or" in rule:
            return any(self._holds(one, data) for one in rule["Or"])
        if "Not" in rule:
            return not self._holds(rule["Not"], data)
        value = self._path(rule["Variable"], data)
        (name,) = set(rule) - {"Variable", "Next", "Comment"}
        wanted = rule[name]
        if name in ("IsNull", "IsPresent"):  # a missing field is null here
            return (value is None) == (wanted if name == "IsNull" else not wanted)
        if not (match := _COMPARISON.match(name)):
            raise AslError(f"The workflow compares with {name}, which the simulation does not know: add it to asl.py.")
        if match[2]:
            wanted = self._path(wanted, data)
        return value is not None and _COMPARISONS[match[1]](value, wanted)


def _put(path: str | None, data: Any, result: Any) -> Any:
    if path is None:
        return data
    if path == "$":
        return result
    *parents, last = path.removeprefix("$.").split(".")
    root = dict(data)
    at = root
    for name in parents:
        at[name] = dict(at.get(name) or {})
        at = at[name]
    at[last] = result
    return root


def _split(text: str) -> list[str]:
    """Split arguments at the commas that stand outside of brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


_INTRINSICS: dict[str, Callable[..., Any]] = {
    "States.MathAdd": lambda a, b: a + b,
    "States.ArrayLength": len,
    "States.ArrayGetItem": lambda array, index: array[index],
    "States.Array": lambda *items: list(items),
    "States.StringToJson": json.loads,
    "States.JsonToString": json.dumps,
    "States.JsonMerge": lambda a, b, _deep: a | b,
    "States.Format": lambda text, *values: text.replace("{}", "%s") % values,
}


def _intrinsic(name: str, arguments: list[Any]) -> Any:
    if name not in _INTRINSICS:
        raise AslError(f"The workflow calls {name}, which the simulation does not know: add it to asl.py.")
    return _INTRINSICS[name](*arguments)
