"""The final bucket, where each image gets exactly one place, and the way there.

The order is: write the result, copy the image, delete that version from the source. Each step may be repeated,
so whoever finds it half done (a redelivery, a duplicate event) finishes it. The result is written on the
condition that its name is free, which makes it the claim on that name. It names the mask, if there is one, which is
written next on the same condition: a mask and an image of that name cannot both be there first, however many Lambdas
are at work.

A version that S3 will not let go (a legal hold) keeps its place in the source bucket: its result and copy are taken
back, version by version, and it gets an entry in `stuck/`. So each upload is one of processed, rejected and still in
the source bucket, and no delivery writes anything again. Whatever is deleted here is deleted by version: what an older
upload of the key had there is current again then.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws import catalog
from batch_vision.aws.conditional import put_on_condition
from batch_vision.aws.copying import copy_version
from batch_vision.aws.s3_errors import TakenError, translated
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.names import MARK, RESULT, names_for, partial_key
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.core.times import from_text, utc_now
from batch_vision.core.versions import NULL_VERSION, Upload, is_newer
from batch_vision.images.detectors import KeptAnswers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from batch_vision.images.source import SourceBucket

_RESULT_CONTENT_TYPE = "application/json"
# Metadata of a result that has neighbours: what its place held before, and which uploads S3 listed as newer.
_REPLACED_IMAGE = "replaced-image"
_NEWER_VERSIONS = "newer-versions"
_MOST_NEWER_VERSIONS = 20  # user metadata has 2 KB
_RESERVED = "reserved"
_MASK_SUFFIX = ".mask.png"
_RESERVED_SUFFIXES = (".json", _MASK_SUFFIX)  # names that a result or a mask of another image could have


@dataclass(frozen=True, slots=True)
class _Filed:
    """A result in the final bucket; None where another object is in its place, or none.

    Attributes
    ----------
    etag, version_id
        Of the object; empty where there is none.
    replaced_image
        Version of the image that was in the place of this one's before, of an older upload; empty for none.
    newer
        Version ids of the uploads of the key that S3 listed as newer.
    is_own
        Whether this very call wrote it.
    """

    result: dict[str, Any] | None
    etag: str = ""
    version_id: str = ""
    replaced_image: str = ""
    newer: tuple[str, ...] = ()
    is_own: bool = False


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
                existing = self._read_result(f"{status}/{name}.json").result
                if existing and _is_of(existing, image):
                    return existing
        return None

    def file(
        self,
        image: SourceImage,
        result: dict[str, Any],
        mask_png: bytes | None = None,
        *,
        newer: Sequence[str] = (),
        gives_way: bool = False,
    ) -> dict[str, Any]:
        """Put the result, its mask and its image in their place.

        Parameters
        ----------
        newer
            Version ids of the uploads of the key that S3 lists as newer.
        gives_way
            Whether to take the upload's own name at once where an older upload has the usual one and is not moved.

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
        StorageRefusedError
            S3 does not let the image be copied or deleted; nothing is left in the final bucket.
        """
        for name in names_for(image):
            place = f"{result['status']}/{name}"
            if not self._reserve_image_place(place):
                continue
            try:
                claimed = self._claim(image, result, place, newer, has_mask=mask_png is not None)
            except errors.OlderUploadInProgressError:
                if not gives_way:
                    raise
                claimed = None
            if claimed:
                filed, replaced_mask = claimed
                filed = self._write_mask(image, filed, mask_png)
                self._move(image, filed)
                if replaced_mask:
                    self._delete(replaced_mask)
                return _result_of(filed)
            self._release_image_place(place)
        # The second name is this very upload's own, so only something foreign in the final bucket can be there.
        raise errors.StorageRefusedError(f"{image.key!r} finds something foreign at {place!r} in {self._name}.")

    def has_mask_of(self, result: dict[str, Any]) -> bool:
        """Return whether the mask that a result names was written, or the result names none."""
        return not result.get("mask_key") or bool(self._mask_version_of(result))

    def move(self, image: SourceImage, result: dict[str, Any]) -> None:
        """Finish an upload that has its result: copy its image and delete that version; raises what `file` raises."""
        filed = self._read_result(f"{result['image_key']}.json")
        if filed.result is None or not _is_of(filed.result, image):
            raise errors.ServiceUnavailableError(f"The result of {image.key!r} changed this moment.")
        self._move(image, filed)

    def kept_answers(self, image: SourceImage, fingerprint: str) -> KeptAnswers:
        """Return where the answers about an upload are kept until all are there."""
        key = partial_key(image.bucket, image.key, str(image.version_id), fingerprint)
        return KeptAnswers(self._s3, self._name, key)

    def is_stuck(self, key: str, version_id: str) -> bool:
        """Return whether an upload was given up until somebody looks."""
        return bool(self._version_of(stuck_key(key, version_id)))

    def give_up(self, image: SourceImage, error: BaseException) -> None:
        """Write the entry of an upload that is given up, once: the first cause stays."""
        remedy = error.remedy if isinstance(error, errors.BatchVisionError) else errors.BatchVisionError.remedy
        entry = stuck_entry(image, error, remedy, utc_now())
        with suppress(TakenError):
            self._put_on_condition(
                Key=stuck_key(image.key, str(image.version_id)),
                Body=json.dumps(entry, ensure_ascii=False, indent=1).encode(),
                ContentType=_RESULT_CONTENT_TYPE,
                IfNoneMatch="*",
            )

    def write_catalog(self, key: str, lines: list[dict[str, Any]]) -> None:
        """Write one catalog object of one JSON line for each image."""
        with translated():
            catalog.write_lines(self._s3, self._name, key, lines)

    def _move(self, image: SourceImage, filed: _Filed) -> None:
        """Copy the image beside its result and delete that version from the source bucket; may be repeated."""
        result = _result_of(filed)
        try:
            copied = self._copy(image, result["image_key"])
        except errors.ImageGoneError:
            if self._source.has(image):
                raise
            self._end_of_gone(filed)
            return
        except errors.StorageRefusedError:
            self._take_back(filed)
            raise
        try:
            with translated():
                self._s3.delete_object(Bucket=image.bucket, Key=image.key, VersionId=str(image.version_id))
        except (errors.ServiceUnavailableError, errors.StorageRefusedError, errors.AccessDeniedError) as error:
            if not self._source.has(image):
                return  # another delivery was faster, and the version is gone as it should be
            if isinstance(error, errors.ServiceUnavailableError):
                raise
            self._take_back(filed, copied)
            raise errors.ImageLockedError(str(error)) from error

    def _copy(self, image: SourceImage, place: str) -> str:
        """Copy the image to its place and return the version of the copy."""
        version = str(image.version_id)
        copied = copy_version(self._s3, image.bucket, image.key, version, image.size_bytes, self._name, place)
        return copied or self._version_of(place)

    def _end_of_gone(self, filed: _Filed) -> None:
        """Look what an image that is gone from the source bucket has left: raises `ImageGoneError` for nothing.

        Moved by another delivery, or deleted by somebody. A result without an image is taken back only where this call
        wrote it, for one from before may have lost its image to whoever reads them; one beside the image of an older
        upload always is.
        """
        result = _result_of(filed)
        image_version = self._image_version_of(result["image_key"])
        is_of_older = image_version != "" and image_version == filed.replaced_image
        if is_of_older or (filed.is_own and not image_version):
            self._take_back(filed)
            raise errors.ImageGoneError(f"{result['source']['key']!r} was deleted before it was copied.")

    def _take_back(self, filed: _Filed, copied: str = "") -> None:
        """Delete what this upload has in the final bucket, the result last: so a redelivery finds what is left."""
        result = _result_of(filed)
        if copied:
            self._delete(result["image_key"], copied)
        if (mask_key := result.get("mask_key")) and (mask_version := self._mask_version_of(result)):
            self._delete(mask_key, mask_version)
        if self._mark_of(result["image_key"])[0] == _RESERVED:
            self._delete(result["image_key"], self._version_of(result["image_key"]))
        self._delete(f"{result['image_key']}.json", filed.version_id)

    def _claim(
        self, image: SourceImage, result: dict[str, Any], place: str, newer: Sequence[str], *, has_mask: bool
    ) -> tuple[_Filed, str | None] | None:
        """Write the result for a place; None when that belongs to a newer upload or another object.

        Returns the result that counts, and the mask of an older upload that has no use any more.
        """
        result = result | {"image_key": place, "mask_key": f"{place}{_MASK_SUFFIX}" if has_mask else None}
        neighbours = {_NEWER_VERSIONS: " ".join(newer[:_MOST_NEWER_VERSIONS])} if newer else {}
        try:
            return self._put_result(f"{place}.json", result, neighbours, IfNoneMatch="*"), None
        except TakenError:
            pass
        existing = self._read_result(f"{place}.json")
        if existing.result is None or existing.result["source"]["key"] != image.key:
            return None
        if _is_of(existing.result, image):
            return existing, None
        older = _image_of(existing.result)
        filed = Upload(str(older.version_id), older.uploaded_at, existing.newer)
        if is_newer(filed, Upload(str(image.version_id), image.uploaded_at, newer)):
            return None
        if self._source.has(older):
            if self.is_stuck(older.key, str(older.version_id)):
                return None
            raise errors.OlderUploadInProgressError(
                f"Upload {older.version_id} of {image.key!r} is older and not moved yet; it goes first."
            )
        if image_version := self._image_version_of(place):
            neighbours[_REPLACED_IMAGE] = image_version
        try:
            own = self._put_result(f"{place}.json", result, neighbours, IfMatch=existing.etag)
        except TakenError as error:
            raise errors.OlderUploadInProgressError(
                f"Another upload of {image.key!r} was filed this moment; this one is looked at again."
            ) from error
        replaced = existing.result.get("mask_key")
        is_useless = replaced and replaced != result["mask_key"] and self.has_mask_of(existing.result)
        return own, replaced if is_useless else None

    def _write_mask(self, image: SourceImage, filed: _Filed, mask_png: bytes | None) -> _Filed:
        """Write the mask that a result names, and have the result name another place where something else is there.

        A mask that was lost, and that nobody can give again, is named no more.
        """
        result = _result_of(filed)
        if not filed.is_own and self.has_mask_of(result):  # an earlier delivery's
            return filed
        if mask_png is None:
            return filed if result["mask_key"] is None else self._name_mask(filed, None)
        status = result["status"]
        for place in (result["mask_key"], f"{status}/{names_for(image)[1]}{_MASK_SUFFIX}"):
            if self._put_mask(place, result, mask_png):
                return filed if result["mask_key"] == place else self._name_mask(filed, place)
        raise errors.StorageRefusedError(f"{image.key!r} finds something foreign at {place!r} in {self._name}.")

    def _put_mask(self, place: str, result: dict[str, Any], mask_png: bytes) -> bool:
        """Write a mask where there is none, or over that of an older upload of the key; False where an image is."""
        mask = {"Key": place, "Body": mask_png, "ContentType": "image/png", "Metadata": _mask_mark(result)}
        try:
            self._put_on_condition(**mask, IfNoneMatch="*")
            return True
        except TakenError:
            pass
        mark, etag = self._mark_of(place)
        if mark != "mask" or self._is_claimed_by_image(place):
            return False
        try:
            self._put_on_condition(**mask, IfMatch=etag)
        except TakenError as error:
            raise errors.ServiceUnavailableError(f"{place!r} changed this moment; it is tried again.") from error
        return True

    def _name_mask(self, filed: _Filed, place: str | None) -> _Filed:
        """Change the place of the mask in a result that is there."""
        result = _result_of(filed)
        key = f"{result['image_key']}.json"
        existing = self._read_result(key)
        try:
            if existing.result and existing.result["source"] == result["source"]:
                # The version from before names another mask: it would be a second result of this upload.
                changed = self._put_result(
                    key, result | {"mask_key": place}, _neighbours_of(existing), IfMatch=existing.etag
                )
                self._delete(key, existing.version_id)
                return changed
        except TakenError:
            pass
        raise errors.ServiceUnavailableError(f"{key!r} changed this moment; it is tried again.")

    def _put_result(self, key: str, result: dict[str, Any], neighbours: dict[str, str], **condition: str) -> _Filed:
        answer = self._put_on_condition(
            Key=key,
            Body=json.dumps(result, ensure_ascii=False, indent=1).encode(),
            ContentType=_RESULT_CONTENT_TYPE,
            Metadata={MARK: RESULT} | neighbours,
            **condition,
        )
        return _Filed(result, answer["ETag"], answer.get("VersionId", ""), *_read_neighbours(neighbours), is_own=True)

    def _put_on_condition(self, **request: Any) -> Any:
        """Write an object under a condition and return S3's answer; raises as `put_on_condition`."""
        return put_on_condition(self._s3, Bucket=self._name, **request)

    def _read_result(self, key: str) -> _Filed:
        """Read a result."""
        try:
            with translated():
                answer = self._s3.get_object(Bucket=self._name, Key=key)
                metadata = answer["Metadata"]
                is_result = metadata.get(MARK) == RESULT
                result = json.loads(answer["Body"].read()) if is_result else None
        except errors.ImageGoneError:
            return _Filed(None)
        return _Filed(result, answer["ETag"], answer.get("VersionId", ""), *_read_neighbours(metadata))

    def _reserve_image_place(self, place: str) -> bool:
        """Make sure that the image overwrites no result or mask, now or later; False when one is there.

        Only an image whose own name ends like one could. An empty object holds its place until the image overwrites it.
        """
        if not place.endswith(_RESERVED_SUFFIXES):
            return True
        try:
            self._put_on_condition(Key=place, Body=b"", Metadata={MARK: _RESERVED}, IfNoneMatch="*")
        except TakenError:
            return self._mark_of(place)[0] not in ("result", "mask") or self._is_claimed_by_image(place)
        return True

    def _release_image_place(self, place: str) -> None:
        """Take the empty object away again where something foreign keeps the result out: no image can come there."""
        if not place.endswith(_RESERVED_SUFFIXES):
            return
        there = self._read_result(f"{place}.json")
        if there.result is None and there.etag and self._mark_of(place)[0] == _RESERVED:
            self._delete(place)

    def _is_claimed_by_image(self, place: str) -> bool:
        """Return whether an image was filed in a place: it may bring a mark of ours along from where it was copied."""
        result = self._read_result(f"{place}.json").result
        return result is not None and result["image_key"] == place

    def _mark_of(self, key: str) -> tuple[str | None, str]:
        """Return what of ours an object is, None for an image, and its ETag."""
        head = self._head(key)
        return (head["Metadata"].get(MARK), head["ETag"]) if head else (None, "")

    def _head(self, key: str) -> Any:
        """Return what S3 says about an object; empty where there is none."""
        try:
            with translated():
                return self._s3.head_object(Bucket=self._name, Key=key)
        except errors.ImageGoneError:
            return {}

    def _version_of(self, key: str) -> str:
        """Return the version of the current object of a key; empty where there is none."""
        head = self._head(key)
        return str(head.get("VersionId", NULL_VERSION)) if head else ""

    def _image_version_of(self, place: str) -> str:
        """Return the version of the image in a place; empty where there is none, or only the place is reserved."""
        head = self._head(place)
        is_image = head and head["Metadata"].get(MARK) != _RESERVED
        return str(head.get("VersionId", NULL_VERSION)) if is_image else ""

    def _mask_version_of(self, result: dict[str, Any]) -> str:
        """Return the version of the mask that a result names; empty where another upload's is there, or none."""
        head = self._head(result["mask_key"])
        return str(head.get("VersionId", NULL_VERSION)) if head and head["Metadata"] == _mask_mark(result) else ""

    def _delete(self, key: str, version_id: str = "") -> None:
        """Delete a version, or put a delete marker over what is there."""
        version: Any = {"VersionId": version_id} if version_id else {}
        with translated():
            self._s3.delete_object(Bucket=self._name, Key=key, **version)


def _result_of(filed: _Filed) -> dict[str, Any]:
    assert filed.result is not None  # noqa: S101 - only what is a result is handed on
    return filed.result


def _read_neighbours(metadata: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    return metadata.get(_REPLACED_IMAGE, ""), tuple(metadata.get(_NEWER_VERSIONS, "").split())


def _neighbours_of(filed: _Filed) -> dict[str, str]:
    told = {_REPLACED_IMAGE: filed.replaced_image, _NEWER_VERSIONS: " ".join(filed.newer)}
    return {name: text for name, text in told.items() if text}


def _image_of(result: dict[str, Any]) -> SourceImage:
    """Return the upload that a result is of."""
    source = result["source"]
    return SourceImage(
        bucket=source["bucket"],
        key=source["key"],
        version_id=source["version_id"],
        etag=source["etag"],
        size_bytes=source["size_bytes"],
        uploaded_at=from_text(source["uploaded_at"]),
    )


def _mask_mark(result: dict[str, Any]) -> dict[str, str]:
    """Say in a mask's metadata which upload it is of: that of an older upload of the key may stand in its place."""
    return {MARK: "mask", "version-id": result["source"]["version_id"]}


def _is_of(result: dict[str, Any], image: SourceImage) -> bool:
    source = result["source"]
    return bool(source["key"] == image.key and source["version_id"] == image.version_id)
