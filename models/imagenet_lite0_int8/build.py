"""imagenet_lite0_int8: imagenet_lite0 in 8-bit integers."""

from dataclasses import replace

from models import imagenet, quantise
from models.recipe import Product, Workspace

REFERENCE = "imagenet_lite0"
# Few weights that see raw pixels: in floats they cost neither size nor time, and the error is half of what it was.
FIRST_LAYERS = ("_conv_stem", "_blocks.0.", "_blocks.1.")


def build(workspace: Workspace) -> Product:
    """Ranges are measured on photographs that the checks do not use; the float model is the one to agree with."""
    reference = workspace.built(REFERENCE)
    model = quantise.quantise(reference, imagenet.calibration(workspace), FIRST_LAYERS)
    product = imagenet.product(model, workspace)
    metrics = product.derived["metrics"] | imagenet.agreement(model, reference, workspace)
    return replace(product, derived=product.derived | {"metrics": metrics})
