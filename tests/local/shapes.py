"""Deployments of the other shapes than the stack that most end-to-end tests share: a managed model, an existing bucket.

Each is applied once for a file of tests, in the environment of the process, which it has to itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from local import config, environment
from local.emulator.image_operations import IMAGE_OPERATIONS
from local.images_bucket import ImagesBucket
from local.terraform import Terraform
from tests.local import permissions
from tests.local.deployment import ARGUMENTS, TIMES, recorded
from tests.local.permissions import Recording
from tests.local.stack import Stack
from tests.local.waits import wait_until

# Of each operation. With two invocations, LocalStack's one poller has half of it.
QUOTA = 400


def rekognition(*analyses: str) -> dict[str, Any]:
    """The module's argument for some analyses, fast enough that no test waits for a quota."""
    return {"analyses": list(analyses), "quotas": dict.fromkeys(IMAGE_OPERATIONS, QUOTA)}


@contextmanager
def deployed(backend: str, images_bucket: ImagesBucket | None = None, **arguments: Any) -> Iterator[Stack]:
    """Apply a deployment of another shape, and end it; AWS must have refused nothing that its roles did."""
    wanted = ARGUMENTS | {"max_concurrency": 2} | arguments
    times = TIMES | {"latency_ms": 10, "calls_per_second": dict.fromkeys(IMAGE_OPERATIONS, QUOTA)}
    with recorded(backend, wanted, times, images_bucket) as running:
        yield Stack(running, wanted)
        refused = permissions.refused_calls()
        assert not refused, "AWS would have refused what LocalStack did:\n" + "\n".join(refused)


def changed(stack: Stack, backend: str, **arguments: Any) -> Stack:
    """Apply another backend to a deployment, as users do by a file of variables, and return it as it is then."""
    terraform = Terraform()
    wanted = {name: value for name, value in stack.arguments.items() if name not in environment.MODELS}
    wanted |= environment.choose(backend) | arguments
    if bucket := stack.environment.images_bucket:
        wanted["images_bucket_name"] = bucket.name
    terraform.write_root(wanted)
    terraform.apply()
    outputs = terraform.outputs()
    environment.write_outputs(outputs)
    running = environment.Environment(
        outputs, backend, stack.environment.source_prefix, stack.environment.images_bucket
    )
    return Stack(running, stack.arguments, stack.uploads)


def set_mapping(stack: Stack, *, is_enabled: bool, uuid: str = "") -> None:
    """Resume or pause a managed model, as an operator does, or another mapping: messages wait meanwhile."""
    uuid = uuid or stack.mapping_uuid
    stack.functions.update_event_source_mapping(UUID=uuid, Enabled=is_enabled)
    wanted = "Enabled" if is_enabled else "Disabled"
    wait_until(
        lambda: stack.functions.get_event_source_mapping(UUID=uuid)["State"] == wanted, 5, f"the mapping is {wanted}"
    )


@contextmanager
def paused(stack: Stack, uuid: str = "") -> Iterator[None]:
    """Do something while no message is taken from the queue of images, or from that of another mapping."""
    set_mapping(stack, is_enabled=False, uuid=uuid)
    try:
        yield
    finally:
        set_mapping(stack, is_enabled=True, uuid=uuid)


def paid(stack: Stack) -> dict[str, int]:
    """How many images each operation has answered about; a refused call costs nothing."""
    return {name: count["images"] for name, count in stack.emulator.state()["operations"].items() if count["images"]}


def lost_answers(function: str) -> int:
    """How many answers of the model came too late for a function so far, as some do on a busy machine: each is paid."""
    log = config.LOGS / "lambda" / f"{ARGUMENTS['name_prefix']}-{function}.log"
    text = log.read_text() if log.exists() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"level"')]
    # A call that was refused costs nothing.
    repeated = sum(max(0, line["DetectRetries"] - line["DetectThrottles"]) for line in lines if "DetectRetries" in line)
    return repeated + sum(line["message"] == "image left for redelivery" for line in lines)


def wrong_permissions(stack: Stack, *functions: str, is_judged: Callable[[str], bool] = lambda _: True) -> list[str]:
    """What the roles of some functions may not do and have done, and what they may do and nothing has needed.

    LocalStack neither reads a legal hold when it copies nor copies in parts: `permissions.demands` has these.

    Parameters
    ----------
    is_judged
        Tells of the name of a statement whether something has to have needed all that it allows.
    """
    demands = permissions.demands(f"arn:aws:s3:::{stack.source}", f"arn:aws:s3:::{stack.final}")
    roles = [
        role
        for role in permissions.role_names(stack)
        if role.startswith(tuple(f"{stack.arguments['name_prefix']}-{function}-" for function in functions))
    ]
    assert len(roles) == len(functions)
    moved = demands if not stack.environment.images_bucket else []
    verdicts = permissions.judge(Recording.read(permissions.RECORDED_CALLS), roles, moved)
    for verdict in verdicts:
        verdict.needed = {grant: by for grant, by in verdict.needed.items() if by or is_judged(grant.sid)}
    return [problem for verdict in verdicts for problem in verdict.problems()]
