"""Settings that every test runs with."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import botocore.hooks
import botocore.regions
import moto.core.models
import moto.s3.urls
import pytest
from botocore.client import ClientCreator
from botocore.hooks import EventAliaser
from botocore.loaders import JSONFileLoader, Loader
from hypothesis import HealthCheck, settings
from moto.s3.models import S3Backend
from xdist.scheduler.loadscope import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdist.workermanage import WorkerController

# Processes take the next tests in this order, and a long one that begins late would be waited for alone. What needs the
# process's environment without a stack is for the processes that have none first, and for the others last; what needs
# none and takes minutes, too.
WITHOUT_STACK = [
    *(f"local/test_{name}" for name in ("existing_bucket_backfills", "commands", "existing_bucket", "soak", "videos")),
    *(f"local/test_{name}" for name in ("existing_bucket_runs", "videos_existing_bucket", "managed")),
    "unit/test_in_place_model",
    *(f"local/test_{name}" for name in ("converting", "lambda_executor", "life_cycle")),
]
WITH_STACK = ["faults_workflow", "permissions", "lookout", "faults_images", "stack", "tool", "guard"]
_ON_STACK = [f"local/test_{name}" for name in WITH_STACK]
ORDER = {name: at for at, name in enumerate([*WITHOUT_STACK, "", *_ON_STACK])}
# So many processes apply a stack, if there are others: an apply costs more than what it saves after that.
STACKS = 3
# For so long such a process has tests that need none, while its own is applied.
APPLY_SECONDS = 60

# The last of its tests destroys the stack of the process.
LEAVES_NO_STACK = "tests/local/test_permissions.py"
ONE_BY_ONE = {f"local/test_{name}" for name in ("stack", "tool", "guard", "faults_images")} | {
    "unit/test_in_place_model"
}
# Terraform plans something for all of them in a quarter of a minute: once is enough.
PLANNED = {
    f"unit/test_{name}"
    for name in ("alarms", "backfill_workflow", "examples", "logs", "settings", "static_limits", "workflow")
}

# Each process of pytest-xdist has an environment of its own: its folder under build/, and its ports.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    number = int(worker.removeprefix("gw"))
    os.environ["LOCAL_NAME"] = f"local-{worker}"
    for name, default in (("LOCALSTACK_PORT", 4566), ("EMULATOR_PORT", 4599)):
        os.environ[name] = str(int(os.environ.get(name) or default) + 100 * number)

# Read by powertools when it is imported; no test talks to AWS, whatever the user's own environment says.
os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "batch-vision"
for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
    del os.environ[name]
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "test"


# No example is a failure because the machine was busy with something else.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("steady")

# Each test's session would find, parse and put together the models of its services anew: a tenth of a second of
# processor time for each client, where it takes a hundredth with these, and a quarter of that of all unit tests.
_made: dict[Any, Any] = {}


def _once(owner: Any, name: str, key: Callable[..., Any]) -> None:
    """Keep what a function returns, by a key of what it is given; what is None is asked for again."""
    make = getattr(owner, name)

    def kept(*args: Any, **options: Any) -> Any:
        place = (name, key(*args, **options))
        if (found := _made.get(place)) is None:
            found = _made[place] = make(*args, **options)
        return found

    setattr(owner, name, kept)


def _what_is_looked_for(loader: Loader, *args: Any, **options: Any) -> Any:
    return (*loader.search_paths, *args, *options.items())


_once(JSONFileLoader, "load_file", lambda _, path: path)
_once(Loader, "list_available_services", _what_is_looked_for)
_once(Loader, "load_service_model", _what_is_looked_for)
_once(botocore.regions, "EndpointProvider", lambda ruleset_data, **_: id(ruleset_data))
_once(ClientCreator, "_create_client_class", lambda _, name, model: (name, id(model._service_description)))
_once(EventAliaser, "_alias_event_name", lambda _, event: event)
_once(botocore.hooks, "accepts_kwargs", lambda function: getattr(function, "__code__", function))

# For each test, moto makes 1,300 answers to the library `requests`, which nothing here uses.
moto.core.models.RESPONSES_METHODS.clear()

# Moto loads the module of S3's addresses anew for each request, in case the environment has changed: as much again.
S3Backend._url_module = moto.s3.urls  # type: ignore[assignment]


# What these modules assert tells its values too.
pytest.register_assert_rewrite("tests.local", "tests.contract", "tests.existing_bucket")

_open = ExitStack()


class Scheduling(LoadScopeScheduling):
    """Processes take files, but of those whose tests all run on the stack as it is, or long, each test by itself.

    Tests on a stack mostly wait, the others keep a core busy. So some have a stack, and the last one has none.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._begun = time.monotonic()

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        name = path.removeprefix("tests/").removesuffix(".py")
        return "planned" if name in PLANNED else nodeid if name in ONE_BY_ONE else path

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(self._next(node), last=False)
        super()._assign_work_unit(node)

    def _next(self, node: WorkerController) -> str:
        queue: list[str] = list(self.workqueue)
        without_stack = [scope for scope in queue if _is_of(scope, WITHOUT_STACK)]
        on_stack = [scope for scope in queue if _is_of(scope, _ON_STACK)]
        others = [scope for scope in queue if scope not in (*without_stack, *on_stack)]
        if not self._has_stack(node):
            return [*without_stack, *others, *on_stack][0]
        is_applying = time.monotonic() < self._begun + APPLY_SECONDS
        return [*(others if is_applying else ()), *on_stack, *without_stack, *others][0]

    def _has_stack(self, node: WorkerController) -> bool:
        told = node.workerinput
        return _applies_stack(told["workerid"], told["workercount"]) and LEAVES_NO_STACK not in self.assigned_work[node]

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process more tests; none on a stack where it has none, for others take them sooner than an apply."""
        are_others_at_work = any(other is not node and not other.shutting_down for other in self.nodes)
        is_left_out = not self._has_stack(node) and all(_is_of(scope, _ON_STACK) for scope in self.workqueue)
        if not (is_left_out and are_others_at_work):
            super()._reschedule(node)
        elif self._pending_of(self.assigned_work[node]) <= 2 and not node.shutting_down:
            node.shutdown()


def _applies_stack(worker: str, workers: int) -> bool:
    """Whether a process applies a stack before a test asks for it."""
    return workers == 1 or int(worker.removeprefix("gw")) < min(STACKS, workers - 1)


def _is_of(scope: str, names: list[str]) -> bool:
    """Whether a scope is a file of these, or one of its tests."""
    return scope.partition("::")[0].removeprefix("tests/").removesuffix(".py") in names


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test change anything
def pytest_runtest_setup(item: pytest.Item) -> None:
    # Not beside a test of a file that uses the environment of this process itself.
    is_applied = not worker or _applies_stack(worker, int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    if is_applied and _file(item) not in WITHOUT_STACK and _needs_stack(item.session.items[-1]):
        from tests.local.deployment import DEPLOYMENT

        DEPLOYMENT.begin()


def pytest_collection_finish(session: pytest.Session) -> None:
    # Each process also has a provider of its own for its commands of Terraform: it has the settings of its stack.
    if worker and any(_needs_stack(item) for item in session.items):
        from local.provider import running_provider

        _open.enter_context(running_provider())


def pytest_sessionfinish() -> None:
    if deployment := sys.modules.get("tests.local.deployment"):
        deployment.DEPLOYMENT.end()
    _open.close()


def _place(item: pytest.Item) -> tuple[int, int]:
    fixtures = _fixtures(item)
    # Of those with a stack, the first is the one that needs a new one, and the last the one that leaves none.
    turn = 2 if "last_stack" in fixtures else 0 if "fresh_stack" in fixtures or not _needs_stack(item) else 1
    return turn, ORDER.get(_file(item), ORDER[""])


def _file(item: pytest.Item) -> str:
    return f"{item.path.parent.name}/{item.path.stem}"


def _needs_stack(item: pytest.Item) -> bool:
    return "deployment" in _fixtures(item)


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])
