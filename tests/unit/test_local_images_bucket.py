"""Local running on an existing bucket: what the user may say of it, and what its owner does."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.s3.models import s3_backends

from local.config import REGION
from local.errors import LocalError
from local.images_bucket import ImagesBucket, choose_bucket, make_bucket


@pytest.mark.parametrize(
    ("name", "versioned", "values", "chosen"),
    [
        (None, None, {}, None),
        ("pile", None, {}, ImagesBucket("pile")),
        ("pile", "0", {}, ImagesBucket("pile")),
        ("pile", "1", {}, ImagesBucket("pile", is_versioned=True)),
        (None, "1", {"images_bucket_name": "pile"}, ImagesBucket("pile", is_versioned=True)),
        ("pile", None, {"images_bucket_name": "pile"}, ImagesBucket("pile")),
        (None, None, {"images_bucket_name": None}, None),
    ],
)
def test_which_bucket_is_played(
    name: str | None, versioned: str | None, values: dict[str, Any], chosen: ImagesBucket | None
) -> None:
    assert choose_bucket(name, versioned, values) == chosen


@pytest.mark.parametrize(
    ("name", "versioned", "values", "message"),
    [
        ("My Pile", None, {}, "IMAGES_BUCKET=My Pile is no name"),
        ("s3://pile", None, {}, "IMAGES_BUCKET=s3://pile is no name.*lower-case"),
        ("pi", None, {}, "IMAGES_BUCKET=pi is no name"),
        ("pile", "yes", {}, "VERSIONED=yes is not known. Use 1"),
        (None, "1", {}, "VERSIONED=1 is about the bucket IMAGES_BUCKET"),
        ("pile", None, {"images_bucket_name": "heap"}, '"heap", and IMAGES_BUCKET=pile was given'),
    ],
)
def test_what_cannot_be_is_named(name: str | None, versioned: str | None, values: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        choose_bucket(name, versioned, values)


@pytest.mark.parametrize("is_versioned", [False, True])
def test_its_owner_makes_it_and_turns_eventbridge_on(is_versioned: bool) -> None:
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        make_bucket(s3, ImagesBucket("pile", is_versioned))
        assert (s3.get_bucket_versioning(Bucket="pile").get("Status") == "Enabled") == is_versioned
        # moto keeps it, and does not tell of it.
        kept = s3_backends[ACCOUNT_ID]["aws"].buckets["pile"].notification_configuration
        assert kept.event_bridge is not None


def test_a_name_that_s3_refuses_is_named() -> None:
    with mock_aws(), pytest.raises(LocalError, match=r"IMAGES_BUCKET=ab cannot be made.*InvalidBucketName"):
        make_bucket(boto3.client("s3", region_name=REGION), ImagesBucket("ab"))
