"""Pictures that are right are opened right: their colours, their orientation, what is transparent."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from common.preprocessing.pictures import open_picture
from tests.unit.common.preprocessing import picture_files as files


def pixels(file: bytes) -> NDArray[np.int64]:
    picture = open_picture(file)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(np.int64)


def close(found: NDArray[Any], expected: Any, most: int = 6) -> bool:
    return bool(np.abs(found - np.asarray(expected)).max() <= most)


def left_and_right(file: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found = pixels(file)
    return found[16, 8], found[16, 56]


@pytest.mark.parametrize(
    "file",
    [
        files.jpeg(),
        files.jpeg(progressive=True),
        files.jpeg(subsampling=0),
        files.png(),
        files.png(files.half_red().convert("RGBA")),
        files.png(files.half_red().quantize(4)),
        files.cmyk_jpeg(files.half_red()),
        files.ycck_jpeg(files.half_red()),
    ],
    ids=["baseline", "progressive", "4:4:4", "png", "alpha", "palette", "CMYK", "YCCK"],
)
def test_every_kind_of_file_keeps_its_colours(file: bytes) -> None:
    left, right = left_and_right(file)
    assert close(left, files.RED)
    assert close(right, files.BLUE)


def test_a_jpeg_is_what_pillow_decodes() -> None:
    file = files.jpeg(files.noise())
    with Image.open(BytesIO(file)) as plain:
        assert (pixels(file) == np.asarray(plain)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_greys_become_three_equal_colours(kind: str) -> None:
    found = pixels(files.saved(Image.new("L", (8, 8), 100), kind))
    assert close(found, [100, 100, 100], 1)


@pytest.mark.parametrize(
    ("bits", "row", "expected"), [(1, 0b10000000, 255), (2, 0b11000000, 255), (4, 0b01110000, 119)]
)
def test_greys_of_few_bits_are_spread_over_the_whole_range(bits: int, row: int, expected: int) -> None:
    found = pixels(files.raw_png(2, 1, bits, 0, [bytes([row])]))
    assert found[0].tolist() == [[expected] * 3, [0] * 3]


def test_sixteen_bits_of_grey_become_eight_and_are_not_cut_off() -> None:
    found = pixels(files.png_of_16_bit_greys([0, 0x0100, 0x8000, 0xFFFF]))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bits_of_colour_become_eight() -> None:
    row = struct.pack(">6H", 0xFFFF, 0x8000, 0, 0x1234, 0, 0xFFFF)
    assert pixels(files.raw_png(2, 1, 16, 2, [row]))[0].tolist() == [[255, 128, 0], [0x12, 0, 255]]


def test_what_is_transparent_shows_white() -> None:
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 127))
    found = pixels(files.png(picture))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert close(found[0, 1], [128, 128, 128], 1)


def test_a_transparent_colour_of_a_palette_shows_white() -> None:
    picture = files.half_red().quantize(2)
    file = files.png(picture, transparency=picture.getpixel((0, 0)))
    left, right = left_and_right(file)
    assert left.tolist() == [255, 255, 255]
    assert close(right, files.BLUE)


def test_a_palette_with_half_transparency_is_blended() -> None:
    palette = files.chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0]))
    file = files.raw_png(2, 1, 8, 3, [b"\0\1"], palette, files.chunk(b"tRNS", b"\x7f\xff"))
    assert close(pixels(file)[0], [[128] * 3, files.RED], 1)


@pytest.mark.parametrize(
    ("bits", "colours", "row", "transparent"),
    [
        (8, 0, b"\x64\x00", struct.pack(">H", 0x64)),
        (16, 0, struct.pack(">2H", 0x6480, 0), struct.pack(">H", 0x6480)),
        (8, 2, b"\1\2\3\0\0\0", struct.pack(">3H", 1, 2, 3)),
        (16, 2, struct.pack(">6H", 0x1000, 0x2000, 0x3000, 0, 0, 0), struct.pack(">3H", 0x1000, 0x2000, 0x3000)),
    ],
    ids=["grey", "grey of 16 bits", "colour", "colour of 16 bits"],
)
def test_a_colour_that_is_declared_transparent_shows_white(
    bits: int, colours: int, row: bytes, transparent: bytes
) -> None:
    found = pixels(files.raw_png(2, 1, bits, colours, [row], files.chunk(b"tRNS", transparent)))
    assert found[0].tolist() == [[255] * 3, [0] * 3]


ORIENTED = {
    1: lambda it: it,
    2: lambda it: it[:, ::-1],
    3: lambda it: it[::-1, ::-1],
    4: lambda it: it[::-1],
    5: lambda it: it.transpose(1, 0, 2),
    6: lambda it: np.rot90(it, -1),
    7: lambda it: it[::-1, ::-1].transpose(1, 0, 2),
    8: lambda it: np.rot90(it),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_picture_is_turned_as_its_exif_says(orientation: int, order: str) -> None:
    file = files.jpeg(files.noise())
    turned = pixels(files.with_exif(file, files.exif(orientation, order)))
    assert (turned == ORIENTED[orientation](pixels(file))).all()


def test_a_png_is_turned_as_its_exif_says() -> None:
    file = files.png(files.noise())
    turned = pixels(files.with_chunk(file, b"eXIf", files.exif(6)))
    assert (turned == np.rot90(pixels(file), -1)).all()


@pytest.mark.parametrize(
    "tiff", [b"", b"II", files.exif(0), files.exif(9), files.exif(6)[:18], b"II*\0\xff\xff\xff\xff", b"junk" * 9]
)
def test_a_damaged_exif_note_does_no_harm(tiff: bytes) -> None:
    assert pixels(files.with_exif(files.jpeg(), tiff)).shape == (32, 64, 3)
    assert pixels(files.with_chunk(files.png(), b"eXIf", tiff)).shape == (32, 64, 3)


def test_notes_profiles_and_stray_bytes_between_segments_do_no_harm() -> None:
    file = files.jpeg()
    for marker, data in ((0xE2, b"ICC_PROFILE\0junk"), (0xED, b"Photoshop"), (0xFE, b"a note"), (0xE1, b"http://x")):
        file = files.with_segment(file, marker, data)
    assert (pixels(file[:2] + b"\xff\xff" + file[2:]) == pixels(files.jpeg())).all()


def test_a_png_note_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    note = b"Comment\0\0" + zlib.compress(b"\0" * 50_000_000)
    assert pixels(files.with_chunk(files.png(), b"zTXt", note)).shape == (32, 64, 3)


def test_a_jpeg_with_more_pictures_after_it_is_its_first() -> None:
    assert (pixels(files.jpeg() + files.jpeg(files.noise())) == pixels(files.jpeg())).all()


def test_a_whole_png_of_too_few_rows_is_black_below_as_in_a_browser() -> None:
    found = pixels(files.raw_png(4, 4, 8, 2, [b"\xff" * 12] * 2))
    assert found[:, 0, 0].tolist() == [255, 255, 0, 0]


def test_a_png_of_one_frame_is_a_still_picture() -> None:
    file = files.with_chunk(files.png(), b"acTL", struct.pack(">II", 1, 0))
    assert (pixels(file) == pixels(files.png())).all()


def test_buffers_are_read_as_bytes_are() -> None:
    assert open_picture(memoryview(files.png())).size == (64, 32)


def test_the_process_keeps_pillows_settings() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    open_picture(files.jpeg())
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_threads_do_not_disturb_each_other() -> None:
    kinds = [files.jpeg(files.noise()), files.png(files.noise()), files.cmyk_jpeg(files.noise())]
    expected = [pixels(file) for file in kinds]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pixels, kinds * 40))
    assert all((it == expected[index % 3]).all() for index, it in enumerate(found))


def test_a_large_picture_is_put_on_white_in_parts_without_a_seam() -> None:
    values = np.random.default_rng(1).integers(0, 256, (1050, 1000, 4), dtype=np.uint8)
    picture = Image.fromarray(values)
    whole = Image.new("RGB", picture.size, (255, 255, 255))
    whole.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    assert np.array_equal(np.asarray(open_picture(files.png(picture, compress_level=1))), np.asarray(whole))
