"""Publishes the messages of completion to the topics that requests name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from local.emulator.aws import client_at
from local.emulator.errors import TopicError

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class Topics(Protocol):
    """Where the emulator publishes."""

    def publish(self, topic_arn: str, message: str) -> None:
        """Publish a message; raises `TopicError` if that fails."""
        ...


class SnsTopics:
    """Publishes through SNS's own interface."""

    def __init__(self, client: SNSClient) -> None:
        self._client = client

    @classmethod
    def at(cls, endpoint_url: str) -> SnsTopics:
        """Return the topics of the SNS at a local address."""
        return cls(client_at(endpoint_url, "sns"))

    def publish(self, topic_arn: str, message: str) -> None:
        """See `Topics.publish`."""
        try:
            self._client.publish(TopicArn=topic_arn, Message=message)
        except (ClientError, BotoCoreError) as error:
            raise TopicError(str(error)) from error


class NoTopics:
    """For an emulator that was given nothing to publish to."""

    def publish(self, topic_arn: str, message: str) -> None:
        """See `Topics.publish`."""
        raise TopicError(f"the emulator was given no SNS, so {topic_arn} was not told of {message}")
