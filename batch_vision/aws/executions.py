"""Executions of the workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_vision.aws.translation import control_calls

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


def list_running(workflow: SFNClient, state_machine_arn: str) -> list[str]:
    """List the ARNs of the executions that run, the newest first; none where the state machine is deleted.

    The list is eventually consistent (Step Functions API reference, ListExecutions).
    """
    with control_calls():
        pages = workflow.get_paginator("list_executions").paginate(
            stateMachineArn=state_machine_arn, statusFilter="RUNNING"
        )
        try:
            return [execution["executionArn"] for page in pages for execution in page["executions"]]
        except workflow.exceptions.StateMachineDoesNotExist:
            return []


def stop_execution(workflow: SFNClient, execution_arn: str, error: str, cause: str) -> None:
    """Stop an execution."""
    with control_calls():
        workflow.stop_execution(executionArn=execution_arn, error=error, cause=cause)
