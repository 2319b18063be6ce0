"""text_recognition_heavy: the small text recogniser of PP-OCRv6, five times as slow as the tiny one."""

from models import ocr
from models.build_api import BuildContext, BuildResult

PACKAGE = "rapidocr"
MEMBER = "rapidocr/models/PP-OCRv6_rec_small.onnx"
SHA256 = "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"


def build(context: BuildContext) -> BuildResult:
    """Add image input and greedy decoding of each time step to the published network."""
    return ocr.recogniser(context, PACKAGE, MEMBER, SHA256)
