"""End to end with `convert_images`: what a model does not take as it is, is converted for the model only."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from local import config
from tests.existing_bucket import broken_promises
from tests.local import shapes, soak_existing
from tests.local.soak_existing import BUCKET
from tests.local.stack import VALIDATOR, Stack
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1200)]

SAMPLES = sorted((config.REPOSITORY / "local" / "samples" / "labelled").rglob("*.png"))
LABELS, EQUIPMENT = "DetectLabels", "DetectProtectiveEquipment"


@pytest.fixture(scope="module")
def stack(alone: None) -> Iterator[Stack]:
    """A deployment of two analyses, of which one takes sides of 10,000 pixels and the other of 4,096."""
    arguments = soak_existing.ARGUMENTS | {
        "convert_images": True,
        "rekognition": shapes.rekognition("labels", "protective_equipment"),
        "analyze_timeout_seconds": 45,
    }
    with shapes.deployed("rekognition", BUCKET, **arguments) as running:
        yield running


def encoded(kind: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    content = io.BytesIO()
    (picture or Image.open(SAMPLES[0]).convert("RGB")).save(content, kind, **options)
    return content.getvalue()


def sample(mode: str = "RGB", side_px: int | None = None) -> Image.Image:
    picture = Image.open(SAMPLES[0]).convert("RGB")
    if side_px:
        picture = picture.resize((side_px, side_px * picture.height // picture.width))
    return picture.convert(mode)


def bomb() -> bytes:
    """A PNG of few bytes that says that it has 3.6 thousand million pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 16, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def mutated() -> Iterator[tuple[str, bytes]]:
    """Files of each kind, each with some bytes of its first ones, which are its headers, and of the others changed."""
    chance = random.Random(20261127)
    for kind in ("WEBP", "TIFF", "AVIF", "GIF", "BMP", "JPEG2000"):
        whole = encoded(kind)
        for _ in range(4):
            body = bytearray(whole)
            for _ in range(8):
                body[chance.randrange(min(len(body), chance.choice((64, 512, len(body)))))] = chance.randrange(256)
            yield {"TIFF": ".tif", "JPEG2000": ".jp2"}.get(kind, f".{kind.lower()}"), bytes(body)


def lying(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(kind, exif=exif)


def analyzed(stack: Stack, files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Upload files, wait until all is quiet, and return their results by name."""
    for name, body in files.items():
        stack.s3.put_object(Bucket=BUCKET.name, Key=f"pile/{name}", Body=body)
    told = stack.functions.get_function_configuration(FunctionName=f"{stack.arguments['name_prefix']}-analyze-images")
    suffixes = tuple(json.loads(told["Environment"]["Variables"]["IMAGE_SUFFIXES"]))
    scope = replace(soak_existing.SCOPE, suffixes=suffixes)
    assert all(name.endswith(suffixes) for name in files), suffixes

    def broken() -> list[str]:
        return broken_promises(stack.s3, BUCKET.name, stack.final, scope)

    wait_until(lambda: not any(stack.messages().values()) and not broken(), 240, "all is in step")
    assert broken() == []
    assert sum(stack.messages(stack.dead_letter_queue_url).values()) == 0
    results = {name: stack.read_json(f"results/pile/{name}.json") for name in files}
    for result in results.values():
        VALIDATOR.validate(result)
    return results


def test_what_the_service_takes_goes_untouched_and_the_rest_is_converted(stack: Stack) -> None:
    wide = sample(side_px=5000)
    results = analyzed(
        stack,
        {
            "plain.jpg": encoded("JPEG"),
            "plain.png": encoded("PNG"),
            "lying.jpg": lying("JPEG", 6),
            "wide.jpg": encoded("JPEG", wide),
            "web.webp": encoded("WEBP"),
            "lying.webp": lying("WEBP", 6),
            "scan.tif": encoded("TIFF", sample("CMYK")),
            "print.jpg": encoded("JPEG", sample("CMYK")),
            "deep.png": encoded("PNG", Image.new("I;16", (320, 240), 40_000)),
            "still.gif": encoded("GIF"),
            "new.avif": encoded("AVIF"),
            "old.bmp": encoded("BMP"),
        },
    )
    assert {name: result["status"] for name, result in results.items()} == dict.fromkeys(results, "processed")
    converted = {name: result["converted"] for name, result in results.items() if result["converted"]}
    assert set(converted) == set(results) - {"plain.jpg", "plain.png", "lying.jpg"}
    # Only the operation that does not take so long a side is asked about a smaller picture.
    assert converted["wide.jpg"]["detectors"] == [EQUIPMENT]
    assert converted["wide.jpg"]["to_width"] == 4096
    assert (results["wide.jpg"]["width"], results["wide.jpg"]["height"]) == wide.size
    for name in set(converted) - {"wide.jpg"}:
        assert converted[name]["detectors"] == [LABELS, EQUIPMENT], name
    width, height = sample().size
    for name in ("lying.jpg", "lying.webp"):
        assert (results[name]["width"], results[name]["height"]) == (height, width), name
    assert converted["lying.webp"]["to_width"] == height
    # What the model says is what it says of the picture that it takes as it is.
    told = {name: [one["name"] for one in results[name]["predictions"]] for name in results if name != "deep.png"}
    for name in ("web.webp", "scan.tif", "print.jpg", "new.avif", "old.bmp", "wide.jpg"):
        assert told[name][:1] == told["plain.png"][:1], name


@pytest.mark.fault("Images: with convert_images: a bomb, a broken file, one that makes the decoder fail")
def test_hostile_files_are_rejected_by_name_and_harm_no_neighbour(stack: Stack) -> None:
    webp, tiff = encoded("WEBP"), encoded("TIFF")
    hostile = {
        "bomb.png": bomb(),
        "cut.webp": webp[: len(webp) // 2],
        "cut.tif": tiff[: len(tiff) // 2],
        "text.tif": b"no picture at all",
        "script.gif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "small.webp": encoded("WEBP", Image.new("RGB", (20, 20))),
        "empty.webp": b"",
    }
    hostile |= {f"mutated {number}{suffix}": body for number, (suffix, body) in enumerate(mutated())}
    neighbours = {f"neighbour {number}.webp": encoded("WEBP") for number in range(4)}
    neighbours |= {f"neighbour {number}.jpg": encoded("JPEG") for number in range(4)}
    results = analyzed(stack, hostile | neighbours)
    assert {results[name]["status"] for name in neighbours} == {"processed"}
    for name in hostile:
        if name.startswith("mutated") and results[name]["status"] == "processed":
            continue  # what is still a picture
        assert results[name]["status"] == "rejected", name
        assert results[name]["error"]["type"] in ("InvalidImageFormatError", "ImageTooLargeError", "InvalidImageError")
        assert "Traceback" not in results[name]["error"]["message"]
    assert "20 by 20" in results["small.webp"]["error"]["message"]
