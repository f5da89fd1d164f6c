"""The source bucket, which images leave, and the final bucket, where each gets exactly one place.

The order is: write the result, copy the image, delete that version from the source. Each step may be repeated,
so whoever finds it half done (a redelivery, a duplicate event) finishes it. The result is written on the
condition that its name is free, which makes it the claim on that name. It names the mask, if there is one, which is
written next on the same condition: a mask and an image of that name cannot both be there first, however many Lambdas
are at work.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from batch_vision.core import errors
from batch_vision.core.names import names_for
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from tenacity import RetryCallState

    from batch_vision.core.events import SourceImage

_CONFLICT_ATTEMPTS = 6
_GIB_BYTES = 1024**3
_COPY_LIMIT_BYTES = 5 * _GIB_BYTES  # the most that one CopyObject takes
_LARGE_COPY = TransferConfig(multipart_threshold=_COPY_LIMIT_BYTES, multipart_chunksize=_GIB_BYTES)
_RESULT_CONTENT_TYPE = "application/json"
_MARK = "batch-vision"  # the metadata that says what of ours an object is
_RESULT_MARK = {_MARK: "result"}
_RESERVED_MARK = {_MARK: "reserved"}
_MASK_SUFFIX = ".mask.png"
_RESERVED_SUFFIXES = (".json", _MASK_SUFFIX)  # names that a result or a mask of another image could have


class _TakenError(Exception):
    """A conditional write found the name taken, or what it was to replace changed or gone."""


class _ConflictError(Exception):
    """Another conditional write to the name is under way: S3 wants this one repeated (409)."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        http_status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if http_status == 412:
            raise _TakenError from error
        if http_status == 409:
            raise _ConflictError from error
        if http_status == 404 and code != "NoSuchBucket":
            raise errors.ImageGoneError(str(error)) from error
        if http_status == 403:
            raise errors.AccessDeniedError(str(error)) from error
        if http_status == 429 or http_status >= 500:
            raise errors.ServiceUnavailableError(str(error)) from error
        raise errors.StorageRefusedError(str(error)) from error
    except BotoCoreError as error:
        raise errors.ServiceUnavailableError(str(error)) from error


def _give_up_conflict(_: RetryCallState) -> Any:
    raise errors.ServiceUnavailableError("S3 found another conditional write under way, time and again.")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One version of an object, readable by reference or by content."""

    s3: S3Client
    bucket: str
    key: str
    version_id: str
    size_bytes: int

    def read_bytes(self) -> bytes:
        """Fetch the content; raises `ImageGoneError` when that version is no longer there."""
        with _translated():
            answer = self.s3.get_object(Bucket=self.bucket, Key=self.key, VersionId=self.version_id)
            return answer["Body"].read()


class SourceBucket:
    """Where images are uploaded."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3

    def resolve(self, image: SourceImage) -> SourceImage:
        """Look the version up where the event did not name it; raises `ImageGoneError` when there is none."""
        if image.version_id:
            return image
        with _translated():
            head = self._s3.head_object(Bucket=image.bucket, Key=image.key)
        return replace(
            image,
            version_id=head.get("VersionId", "null"),
            etag=head["ETag"].strip('"'),
            size_bytes=head["ContentLength"],
            uploaded_at=head["LastModified"],
        )

    def has(self, bucket: str, key: str, version_id: str) -> bool:
        """Tell whether an object version is still there."""
        try:
            with _translated():
                self._s3.head_object(Bucket=bucket, Key=key, VersionId=version_id)
        except errors.ImageGoneError:
            return False
        return True

    def stored(self, image: SourceImage) -> StoredImage:
        """Give what a backend reads the image from."""
        return StoredImage(self._s3, image.bucket, image.key, str(image.version_id), image.size_bytes)


class FinalBucket:
    """Where images, results and the catalog go."""

    def __init__(self, s3: S3Client, name: str, source: SourceBucket) -> None:
        self._s3 = s3
        self._name = name
        self._source = source

    def find_result(self, image: SourceImage) -> dict[str, Any] | None:
        """Find the result that an earlier delivery wrote for this very upload."""
        for status in ("processed", "rejected"):
            for name in names_for(image):
                existing, _ = self._read_result(f"{status}/{name}.json")
                if existing and _is_of(existing, image):
                    return existing
        return None

    def file(self, image: SourceImage, result: dict[str, Any], mask_png: bytes | None = None) -> dict[str, Any]:
        """Give the result, its mask and its image their place.

        Returns
        -------
        dict
            The result that counts: an earlier one of the same upload comes before this one.

        Raises
        ------
        OlderUploadInProgressError
            An older upload of the key is half moved: it goes first.
        ImageGoneError
            The image was deleted meanwhile; nothing of it is left behind.
        """
        for name in names_for(image):
            place = f"{result['status']}/{name}"
            if not self._reserve_image_place(place):
                continue
            if claimed := self._claim(image, result, place, has_mask=mask_png is not None):
                filed, etag = claimed
                filed, etag = self._write_mask(image, filed, etag, mask_png)
                self.move(image, filed, own_etag=etag)
                return filed
            self._release_image_place(place)
        # The second name is this very upload's own, so only something foreign in the final bucket can be there.
        raise errors.StorageRefusedError(f"{image.key!r} finds something foreign at {place!r} in {self._name}.")

    def has_mask_of(self, result: dict[str, Any]) -> bool:
        """Tell whether the mask that a result names was written, or the result names none."""
        if not (place := result.get("mask_key")):
            return True
        try:
            with _translated():
                head = self._s3.head_object(Bucket=self._name, Key=place)
        except errors.ImageGoneError:
            return False
        return head["Metadata"] == _mask_mark(result)

    def move(self, image: SourceImage, result: dict[str, Any], own_etag: str | None = None) -> None:
        """Copy the image beside its result and delete that version from the source bucket; may be repeated.

        Parameters
        ----------
        own_etag
            ETag of the result, when it was written just now: it goes again if the image is found to be gone.
        """
        place = result["image_key"]
        source: Any = {"Bucket": image.bucket, "Key": image.key, "VersionId": image.version_id}
        try:
            with _translated():
                if image.size_bytes > _COPY_LIMIT_BYTES:
                    self._s3.copy(source, self._name, place, Config=_LARGE_COPY)
                else:
                    self._s3.copy_object(Bucket=self._name, Key=place, CopySource=source)
        except errors.ImageGoneError:
            # Not there: moved by another delivery, or deleted by somebody. A result is taken back only where it is
            # this call's own and without an image; one from before may have lost its image to whoever reads them.
            if own_etag is None or self._has(place):
                return
            if self._read_result(f"{place}.json")[1] == own_etag:
                for written in (result.get("mask_key"), f"{place}.json"):
                    if written:
                        with _translated():
                            self._s3.delete_object(Bucket=self._name, Key=written)
            raise
        try:
            with _translated():
                self._s3.delete_object(Bucket=image.bucket, Key=image.key, VersionId=str(image.version_id))
        except (errors.ServiceUnavailableError, errors.StorageRefusedError):
            if self._source.has(image.bucket, image.key, str(image.version_id)):
                raise  # otherwise another delivery was faster, and the version is gone as it should be

    def write_catalog(self, key: str, lines: list[dict[str, Any]]) -> None:
        """Write one catalog object of one JSON line for each image."""
        body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with _translated():
            self._s3.put_object(Bucket=self._name, Key=key, Body=body.encode(), ContentType="application/x-ndjson")

    def _claim(
        self, image: SourceImage, result: dict[str, Any], place: str, *, has_mask: bool
    ) -> tuple[dict[str, Any], str | None] | None:
        """Write the result for a place; None when that belongs to a newer upload or another object.

        Returns the result that counts, and its ETag if it was written now.
        """
        result = result | {"image_key": place, "mask_key": f"{place}{_MASK_SUFFIX}" if has_mask else None}
        try:
            return result, self._put_result(f"{place}.json", result, IfNoneMatch="*")
        except _TakenError:
            pass
        existing, etag = self._read_result(f"{place}.json")
        if existing is None or existing["source"]["key"] != image.key:
            return None
        if _is_of(existing, image):
            return existing, None
        source = existing["source"]
        if from_text(source["uploaded_at"]) > image.uploaded_at:
            return None
        if self._source.has(source["bucket"], source["key"], source["version_id"]):
            raise errors.OlderUploadInProgressError(
                f"Upload {source['version_id']} of {image.key!r} is older and not moved yet; it goes first."
            )
        try:
            own_etag = self._put_result(f"{place}.json", result, IfMatch=etag)
        except _TakenError as error:
            raise errors.OlderUploadInProgressError(
                f"Another upload of {image.key!r} was filed this moment; this one is looked at again."
            ) from error
        replaced = existing.get("mask_key")
        if replaced and replaced != result["mask_key"] and self.has_mask_of(existing):
            with _translated():
                self._s3.delete_object(Bucket=self._name, Key=replaced)
        return result, own_etag

    def _write_mask(
        self, image: SourceImage, result: dict[str, Any], etag: str | None, mask_png: bytes | None
    ) -> tuple[dict[str, Any], str | None]:
        """Write the mask that a result names, and have the result name another place where something else is there.

        A mask that was lost, and that nobody can give again, is named no more.
        """
        if etag is None and self.has_mask_of(result):  # an earlier delivery's
            return result, etag
        if mask_png is None:
            return (result, etag) if result["mask_key"] is None else self._name_mask(result, None)
        status = result["status"]
        for place in (result["mask_key"], f"{status}/{names_for(image)[1]}{_MASK_SUFFIX}"):
            if self._put_mask(place, result, mask_png):
                return (result, etag) if result["mask_key"] == place else self._name_mask(result, place)
        raise errors.StorageRefusedError(f"{image.key!r} finds something foreign at {place!r} in {self._name}.")

    def _put_mask(self, place: str, result: dict[str, Any], mask_png: bytes) -> bool:
        """Write a mask where there is none, or over that of an older upload of the key; False where an image is."""
        mask = {"Key": place, "Body": mask_png, "ContentType": "image/png", "Metadata": _mask_mark(result)}
        try:
            self._put_on_condition(**mask, IfNoneMatch="*")
            return True
        except _TakenError:
            pass
        mark, etag = self._mark_of(place)
        if mark != "mask" or self._is_claimed_by_image(place):
            return False
        try:
            self._put_on_condition(**mask, IfMatch=etag)
        except _TakenError as error:
            raise errors.ServiceUnavailableError(f"{place!r} changed this moment; it is tried again.") from error
        return True

    def _name_mask(self, result: dict[str, Any], place: str | None) -> tuple[dict[str, Any], str | None]:
        """Change the place of the mask in a result that is there."""
        key = f"{result['image_key']}.json"
        changed = result | {"mask_key": place}
        existing, etag = self._read_result(key)
        try:
            if existing and existing["source"] == result["source"]:
                return changed, self._put_result(key, changed, IfMatch=etag)
        except _TakenError:
            pass
        raise errors.ServiceUnavailableError(f"{key!r} changed this moment; it is tried again.")

    def _put_result(self, key: str, result: dict[str, Any], **condition: str) -> str:
        body = json.dumps(result, ensure_ascii=False, indent=1).encode()
        return self._put_on_condition(
            Key=key, Body=body, ContentType=_RESULT_CONTENT_TYPE, Metadata=_RESULT_MARK, **condition
        )

    @retry(
        retry=retry_if_exception_type(_ConflictError),
        stop=stop_after_attempt(_CONFLICT_ATTEMPTS),
        wait=wait_random_exponential(0.05, 1),
        retry_error_callback=_give_up_conflict,
    )
    def _put_on_condition(self, **request: Any) -> str:
        """Write an object under a condition and give its ETag; raises `_TakenError` where the condition fails."""
        try:
            with _translated():
                return self._s3.put_object(Bucket=self._name, **request)["ETag"]
        except errors.ImageGoneError as error:
            raise _TakenError from error  # what it was to replace is gone

    def _read_result(self, key: str) -> tuple[dict[str, Any] | None, str]:
        """Read a result and its ETag; None where there is no object or one that is no result of ours."""
        try:
            with _translated():
                answer = self._s3.get_object(Bucket=self._name, Key=key)
        except errors.ImageGoneError:
            return None, ""
        if answer["Metadata"] != _RESULT_MARK:
            return None, answer["ETag"]
        with _translated():
            return json.loads(answer["Body"].read()), answer["ETag"]

    def _reserve_image_place(self, place: str) -> bool:
        """Make sure that the image overwrites no result or mask, now or later; False when one is there.

        Only an image whose own name ends like one could. An empty object holds its place until the image overwrites it.
        """
        if not place.endswith(_RESERVED_SUFFIXES):
            return True
        try:
            self._put_on_condition(Key=place, Body=b"", Metadata=_RESERVED_MARK, IfNoneMatch="*")
        except _TakenError:
            return self._mark_of(place)[0] not in ("result", "mask") or self._is_claimed_by_image(place)
        return True

    def _release_image_place(self, place: str) -> None:
        """Take the empty object away again where something foreign keeps the result out: no image can come there."""
        if not place.endswith(_RESERVED_SUFFIXES):
            return
        result, etag_in_its_place = self._read_result(f"{place}.json")
        if result is None and etag_in_its_place and self._mark_of(place)[0] == "reserved":
            with _translated():
                self._s3.delete_object(Bucket=self._name, Key=place)

    def _is_claimed_by_image(self, place: str) -> bool:
        """Tell whether an image was filed in a place: it may bring a mark of ours along from where it was copied."""
        result, _ = self._read_result(f"{place}.json")
        return result is not None and result["image_key"] == place

    def _mark_of(self, key: str) -> tuple[str | None, str]:
        """Say what of ours an object is, None for an image, and its ETag."""
        try:
            with _translated():
                head = self._s3.head_object(Bucket=self._name, Key=key)
        except errors.ImageGoneError:
            return None, ""
        return head["Metadata"].get(_MARK), head["ETag"]

    def _has(self, key: str) -> bool:
        try:
            with _translated():
                self._s3.head_object(Bucket=self._name, Key=key)
        except errors.ImageGoneError:
            return False
        return True


def _mask_mark(result: dict[str, Any]) -> dict[str, str]:
    """Say in a mask's metadata which upload it is of: that of an older upload of the key may stand in its place."""
    return {_MARK: "mask", "version-id": result["source"]["version_id"]}


def _is_of(result: dict[str, Any], image: SourceImage) -> bool:
    source = result["source"]
    return bool(source["key"] == image.key and source["version_id"] == image.version_id)
