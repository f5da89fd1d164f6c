"""The settings of each function that handles videos: see `core.settings`."""

from dataclasses import dataclass

from batch_vision.core.errors import SettingsError
from batch_vision.core.scope import Scope
from batch_vision.core.settings import AnyTexts, JsonObject, Positive, Text
from batch_vision.core.video_reservations import Limits


@dataclass(frozen=True)
class RegisterVideosSettings:
    """What `register_videos` is told.

    Attributes
    ----------
    videos_bucket_name, video_prefix, video_suffixes
        Which objects of which bucket are videos; no prefix, or an empty one, is that of all.
    video_analyses
        The settings of each analysis that a video is to have, by its name.
    notification_topic_arn, notification_role_arn
        Where the service says that a job has ended, and as whom.
    max_minutes_per_day
        A video that is longer could never be started.
    hint_queue_url
        What wakes the dispatcher.
    queue_url, max_receive_count
        The queue of the events, and after how many deliveries a message is a dead letter.
    """

    videos_bucket_name: Text
    video_prefix: Text | None
    video_suffixes: AnyTexts
    final_bucket_name: Text
    video_analyses: JsonObject
    notification_topic_arn: Text
    notification_role_arn: Text
    max_minutes_per_day: Positive
    hint_queue_url: Text
    queue_url: Text
    max_receive_count: Positive

    def __post_init__(self) -> None:
        """Check what Terraform sends as JSON.

        Raises
        ------
        SettingsError
            There is no analysis, or one without settings.
        """
        if not self.video_analyses or not all(isinstance(one, dict) for one in self.video_analyses.values()):
            raise SettingsError(
                f"Environment variable VIDEO_ANALYSES is {dict(self.video_analyses)!r}; it must be a JSON object with"
                " the settings of at least one analysis. Terraform sets it: apply the module again."
            )

    @property
    def scope(self) -> Scope:
        """Which objects of the bucket are videos."""
        return Scope((self.video_prefix or "",), self.video_suffixes)

    @property
    def channel(self) -> dict[str, str]:
        """Where the service says that a job has ended, as it names that."""
        return {"SNSTopicArn": self.notification_topic_arn, "RoleArn": self.notification_role_arn}


@dataclass(frozen=True)
class DispatchVideosSettings:
    """What `dispatch_videos` is told.

    Attributes
    ----------
    collect_function_name
        The function that collects the answers of a job.
    max_concurrent_jobs, max_minutes_per_day
        See `Limits`.
    """

    final_bucket_name: Text
    collect_function_name: Text
    max_concurrent_jobs: Positive
    max_minutes_per_day: Positive

    @property
    def limits(self) -> Limits:
        """What the deployment may use of the account."""
        return Limits(self.max_concurrent_jobs, self.max_minutes_per_day)


@dataclass(frozen=True)
class CollectVideosSettings:
    """What `collect_video` and `collect_and_move_video` are told.

    Attributes
    ----------
    hint_queue_url
        What wakes the dispatcher.
    queue_url
        The queue of the events of videos, for a key that is to be looked at anew.
    """

    final_bucket_name: Text
    hint_queue_url: Text
    queue_url: Text
