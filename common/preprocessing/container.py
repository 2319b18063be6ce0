"""Reads the orientation of a JPEG or PNG file and removes its other metadata before the file is decoded.

The decoder then sees only the segments and chunks that define pixels. Colour profiles, comments and thumbnails, which
are a common way to attack decoders, never reach it.
"""

from __future__ import annotations

import struct
import zlib

from common.errors import InvalidInput, UnsupportedMedia

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
FIELD = "picture"
MAX_PARTS = 20_000  # segments or chunks of a file; most files have some dozens, a large PNG a few thousand
MAX_SCANS = 100  # a progressive JPEG has about ten; decoding one scan costs a pass over all pixels
ORIENTATION = 0x0112
UPRIGHT = 1

_OTHERS = {
    b"GIF8": "a GIF",
    b"RIFF": "a WebP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"BM": "a BMP",
    b"%PDF": "a PDF",
    b"<": "markup",
    b"data:": "a data URI: send the bytes themselves",
    b"/9j/": "base64 text: send the bytes themselves",
    b"iVBOR": "base64 text: send the bytes themselves",
    b"--": "a form: send the file itself as the body",
}
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_APPLICATION, _ALONE = range(0xE0, 0xF0), {0x01, *range(0xD0, 0xD8)}
_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def strip_metadata(body: bytes) -> tuple[bytes, int]:
    """The file without its metadata, and its EXIF orientation, 1 to 8. The first bytes decide between JPEG and PNG.

    Raises UnsupportedMedia for another kind of file, InvalidInput for one that is empty, cut short or animated.
    """
    if body.startswith(JPEG):
        return _jpeg(body)
    if body.startswith(PNG):
        return _png(body)
    if not body:
        raise InvalidInput.at(FIELD, "is empty; send the bytes of a JPEG or PNG file")
    raise UnsupportedMedia.at(FIELD, f"is {_kind(body)}; send a JPEG or PNG file")


def _kind(body: bytes) -> str:
    if body[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    return next((kind for start, kind in _OTHERS.items() if body.startswith(start)), "neither a JPEG nor a PNG")


def _jpeg(body: bytes) -> tuple[bytes, int]:
    kept, at, orientation = [body[:2]], 2, UPRIGHT
    for _ in range(MAX_PARTS):
        at, marker = _marker(body, at)
        if marker == _START_OF_SCAN:
            return _with_scans(kept, body[at:]), orientation
        if marker in _ALONE:
            at += 2
            continue
        end = at + 2 + int.from_bytes(body[at + 2 : at + 4])
        if end < at + 4 or end > len(body):
            raise _cut()
        part = body[at:end]
        if marker == _APPLICATION[1] and part[4:10] == b"Exif\0\0":
            orientation = _orientation(part[10:])
        elif _makes_pixels(marker, part):
            kept.append(part)
        at = end
    raise _too_many_parts()


def _marker(body: bytes, at: int) -> tuple[int, int]:
    """The position of the next marker (of its 0xFF) and its code. Skips stray bytes in front of it, as decoders do."""
    at = body.find(b"\xff", at)
    while 0 <= at < len(body) - 1 and body[at + 1] in (0x00, 0xFF):
        at = body.find(b"\xff", at + 1)
    if at < 0 or at + 1 >= len(body):
        raise _cut()
    marker = body[at + 1]
    if marker in (_START_OF_IMAGE, _END_OF_IMAGE):
        raise InvalidInput.at(FIELD, "is damaged: the JPEG has no image data; send the file again")
    return at, marker


def _makes_pixels(marker: int, part: bytes) -> bool:
    """Whether the decoder needs this segment: JFIF and Adobe, which state the colours, and all that is not metadata."""
    if marker == _APPLICATION[0]:
        return part[4:9] == b"JFIF\0" and len(part) >= 18
    if marker == _APPLICATION[14]:
        return part[4:9] == b"Adobe" and len(part) >= 16
    return marker not in _APPLICATION and marker != _COMMENT


def _with_scans(kept: list[bytes], scans: bytes) -> bytes:
    if scans.count(bytes((0xFF, _START_OF_SCAN))) > MAX_SCANS:
        raise InvalidInput.at(FIELD, f"has more than {MAX_SCANS} scans; save it as a baseline JPEG")
    return b"".join([*kept, scans])


def _png(body: bytes) -> tuple[bytes, int]:
    kept, at, orientation = [PNG], len(PNG), UPRIGHT
    for _ in range(MAX_PARTS):
        length, kind = int.from_bytes(body[at : at + 4]), body[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(body):
            raise _cut()
        chunk = body[at:end]
        if kind in _NEEDED:
            _check_sum(chunk)
            kept.append(chunk)
        elif kind == b"eXIf":
            orientation = _orientation(chunk[8:-4])
        elif kind == b"acTL":
            _check_still(chunk)
        elif kind[0] & 0x20 == 0:  # a capital first letter marks a chunk that a decoder must not skip
            raise InvalidInput.at(
                FIELD, f"has a chunk {kind.decode('latin-1')!r}, which the PNG standard does not define; save it again"
            )
        if kind == b"IEND":
            return b"".join(kept), orientation
        at = end
    raise _too_many_parts()


def _check_sum(chunk: bytes) -> None:
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        raise InvalidInput.at(FIELD, f"is damaged: its chunk {chunk[4:8].decode()} has a wrong checksum; send it again")


def _check_still(chunk: bytes) -> None:
    frames = int.from_bytes(chunk[8:12])
    if frames > 1:
        raise InvalidInput.at(FIELD, f"is animated, with {frames} frames; send one still picture")


def _orientation(tiff: bytes) -> int:
    """The orientation in EXIF data, which have the form of a TIFF file; UPRIGHT when they are damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, first)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, first + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def _cut() -> InvalidInput:
    return InvalidInput.at(FIELD, "is cut short: the file ends before its image data do; send the whole file")


def _too_many_parts() -> InvalidInput:
    return InvalidInput.at(FIELD, f"has more than {MAX_PARTS} segments or chunks; save it again without metadata")
