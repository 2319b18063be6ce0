"""Pictures that are wrong are refused with a reason, before they cost anything."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest
from PIL import Image

from common.errors import InvalidInput, PayloadTooLarge, ServingError, UnsupportedMedia
from common.preprocessing import container
from common.preprocessing.pictures import decode, open_picture
from tests.unit.common.preprocessing import picture_files as files


def refusal(file: bytes, max_pixels: int = 1_000_000) -> ServingError:
    with pytest.raises(ServingError) as caught:
        open_picture(file, max_pixels)
    (field,) = caught.value.fields
    assert field.field == "picture"
    return caught.value


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (files.saved(files.half_red(), "GIF"), "is a GIF"),
        (files.saved(files.half_red(), "WEBP"), "is a WebP"),
        (files.saved(files.half_red(), "TIFF"), "is a TIFF"),
        (files.saved(files.half_red(), "BMP"), "is a BMP"),
        (b"\0\0\0\x20ftypheic" + b"\0" * 40, "is a HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is markup"),
        (b"%PDF-1.7", "is a PDF"),
        (b"/9j/4AAQSkZJRg", "send the bytes themselves"),
        (b"data:image/png;base64,iVBOR", "send the bytes themselves"),
        (b"--boundary\r\nContent-Disposition: form-data", "send the file itself"),
        (b"hello", "is neither a JPEG nor a PNG"),
        (b"\xff\xd8", "is neither a JPEG nor a PNG"),
    ],
)
def test_another_file_format_is_named_in_the_error(file: bytes, kind: str) -> None:
    error = refusal(file)
    assert isinstance(error, UnsupportedMedia)
    assert kind in error.detail


def test_an_empty_file_is_named_in_the_error() -> None:
    assert "is empty" in refusal(b"").detail


@pytest.mark.parametrize("file", [files.bomb_png(), files.bomb_jpeg()], ids=["png", "jpeg"])
def test_a_bomb_is_refused_before_it_takes_memory(file: bytes) -> None:
    tracemalloc.start()
    error = refusal(file, 16_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, PayloadTooLarge)
    assert "pixels, more than 16000000" in error.detail
    assert peak < 1_000_000


def test_the_limit_counts_pixels_exactly() -> None:
    assert open_picture(files.png(), 64 * 32).size == (64, 32)
    assert isinstance(refusal(files.png(), 64 * 32 - 1), PayloadTooLarge)


def test_a_second_frame_header_cannot_hide_a_bomb() -> None:
    file = files.jpeg()
    at = file.index(b"\xff\xc0")
    frame = bytearray(file[at : at + 19])
    frame[5:9] = struct.pack(">HH", 60_000, 60_000)
    assert isinstance(refusal(file[: at + 19] + bytes(frame) + file[at + 19 :]), PayloadTooLarge)
    assert isinstance(refusal(file[:at] + bytes(frame) + file[at:]), InvalidInput)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    file = files.jpeg(progressive=True)
    at = file.index(b"\xff\xda")
    assert "more than 100 scans" in refusal(file[:-2] + file[at:-2] * 200 + b"\xff\xd9").detail


def test_a_file_of_very_many_parts_is_refused() -> None:
    note = b"\xff\xfe\x00\x02"
    assert "segments or chunks" in refusal(files.jpeg()[:2] + note * 30_000 + files.jpeg()[2:]).detail
    file = files.png()
    assert "segments or chunks" in refusal(file[:33] + files.chunk(b"tEXt", b"") * 30_000 + file[33:]).detail


def test_an_animated_picture_is_refused() -> None:
    assert "is animated, with 3 frames" in refusal(files.animated_png()).detail


def test_apples_own_png_is_refused_rather_than_misread() -> None:
    file = files.png()
    assert "'CgBI'" in refusal(file[:8] + files.chunk(b"CgBI", b"\0" * 4) + file[8:]).detail


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_a_flipped_bit_in_a_png_is_found(kind: bytes) -> None:
    file = bytearray(files.png())
    file[file.index(kind) + 4] ^= 1
    assert f"{kind.decode()} has a wrong checksum" in refusal(bytes(file)).detail


def test_a_png_without_its_header_is_refused() -> None:
    file = files.png()
    assert isinstance(refusal(file[:8] + file[33:]), InvalidInput)


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_a_png_without_pixels_is_refused(size: tuple[int, int]) -> None:
    assert isinstance(refusal(files.bomb_png(*size)), InvalidInput)


@pytest.mark.parametrize("file", [files.jpeg(files.noise()), files.png(files.noise())], ids=["jpeg", "png"])
def test_a_file_cut_anywhere_is_refused(file: bytes) -> None:
    for end in (*range(3, 700, 7), len(file) // 2, len(file) - 40):
        assert isinstance(refusal(file[:end]), InvalidInput), end


@pytest.mark.parametrize(
    "file",
    [
        files.jpeg(files.noise()),
        files.jpeg(files.noise(), progressive=True),
        files.cmyk_jpeg(files.noise()),
        files.with_exif(files.jpeg(), files.exif(6)),
        files.png(files.noise()),
        files.png(files.half_red().quantize(4), transparency=0),
        files.png_of_16_bit_greys([0, 1, 2]),
    ],
    ids=["jpeg", "progressive", "cmyk", "exif", "png", "palette", "16 bits"],
)
def test_damage_anywhere_ends_in_a_picture_or_an_error_for_the_caller(
    file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "_check_sum", lambda chunk: None)  # so that damage gets past it
    dice = random.Random(len(file))
    for _ in range(300):
        damaged = bytearray(file)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(min(len(file), dice.choice((60, 700, len(file)))))] = dice.randrange(256)
        try:
            picture = open_picture(bytes(damaged), 1_000_000)
        except InvalidInput:
            continue  # any other error fails this test
        assert picture.mode == "RGB"


def test_a_picture_in_place_of_bytes_is_not_opened_twice() -> None:
    picture = Image.new("RGB", (4, 4))
    assert decode("rgb")(picture) is picture
    with pytest.raises(InvalidInput, match="expected the bytes"):
        decode("rgb")("a text")
