"""text_recognition_heavy: the small line reader of PP-OCRv6, five times the work of the tiny one."""

from models import ocr
from models.recipe import Product, Workspace

PACKAGE = "rapidocr"
MEMBER = "rapidocr/models/PP-OCRv6_rec_small.onnx"
SHA256 = "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"


def build(workspace: Workspace) -> Product:
    """The published network, taking pictures and answering characters."""
    return ocr.recogniser(workspace, PACKAGE, MEMBER, SHA256)
