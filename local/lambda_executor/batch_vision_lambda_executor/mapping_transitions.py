"""Makes LocalStack take as long to enable or disable an event source mapping as a test asks for.

LocalStack does it at once; on AWS a mapping is `Enabling` or `Disabling` for some seconds to a minute. The tests write
`mapping.json` into the folder that they name in `BATCH_VISION_LAMBDA_FAULTS`: `{"transition_seconds": 60}`. What is
written counts from the next update on.

Until the time is over, the mapping is in the state of transition, every other update of it is refused as on AWS, and it
does what it did before: one that is being enabled delivers nothing yet, one that is being disabled may still deliver.
AWS promises neither, so that the second is what the functions have to bear.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localstack.aws.api.lambda_ import ResourceInUseException, ResourceNotFoundException
from localstack.runtime import hooks
from localstack.services.lambda_.event_source_mapping.esm_worker import EsmState, EsmWorker
from localstack.services.lambda_.invocation.models import lambda_stores

from batch_vision_lambda_executor.settings import FAULTS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from localstack.aws.api import RequestContext
    from localstack.services.lambda_.provider import LambdaProvider

LOG = logging.getLogger(__name__)

FILE_NAME = "mapping.json"

_TRANSITIONS = (EsmState.ENABLING, EsmState.DISABLING)


@hooks.on_infra_start()
def make_transitions_slow() -> None:
    """Look from now on how long a transition is to take, when the variable names a folder."""
    if directory := os.environ.get(FAULTS_VARIABLE):
        # Not at the top: it takes a second, which only tests have to wait.
        from localstack.services.lambda_.provider import LambdaProvider

        LambdaProvider.update_event_source_mapping_v2 = slow_update(
            Path(directory) / FILE_NAME, LambdaProvider.update_event_source_mapping_v2
        )


@hooks.on_infra_start()
def forget_deleted_mappings() -> None:
    """Have a mapping be gone that is deleted while it is disabled, as on AWS: LocalStack leaves it `Deleting` for ever.

    No other one could be made for its queue and function.
    """
    delete = EsmWorker.delete

    def delete_it(worker: EsmWorker) -> None:
        is_polling = worker.current_state != EsmState.DISABLED
        delete(worker)
        if not is_polling:
            worker.delete_esm_in_store()

    EsmWorker.delete = delete_it  # type: ignore[method-assign]


def slow_update(file: Path, update: Callable[..., Any]) -> Callable[..., Any]:
    """Return LocalStack's handler of UpdateEventSourceMapping with transitions as long as the file says."""
    beginning = threading.Lock()

    def update_slowly(provider: LambdaProvider, context: RequestContext, request: dict[str, Any]) -> Any:
        seconds = _transition_seconds(file)
        uuid, enabled = request.get("UUID"), request.get("Enabled")
        mapping = lambda_stores[context.account_id][context.region].event_source_mappings.get(uuid)
        worker = provider.esm_workers.get(uuid)
        if mapping is None or worker is None:
            return update(provider, context, request)
        with beginning:
            if worker.current_state in _TRANSITIONS:
                raise ResourceInUseException(
                    f"Cannot update the event source mapping because it is in use. It is {worker.current_state}.",
                    Type="User",
                )
            if not seconds or enabled is None or enabled == (worker.current_state == EsmState.ENABLED):
                return update(provider, context, request)
            changed = mapping | {name: value for name, value in request.items() if name != "UUID"}
            provider.validate_event_source_mapping(context, changed)
            state = EsmState.ENABLING if enabled else EsmState.DISABLING
            worker.current_state = mapping["State"] = state

        def finish() -> None:
            try:
                update(provider, context, request)
            except ResourceNotFoundException:
                LOG.debug("The event source mapping %s was deleted while it was %s.", uuid, state)

        timer = threading.Timer(seconds, finish)
        timer.daemon = True
        timer.start()
        return changed | {"State": state}

    return update_slowly


def _transition_seconds(file: Path) -> float:
    try:
        return float(json.loads(file.read_text())["transition_seconds"])
    except FileNotFoundError:
        return 0.0
