"""imagenet_lite0_int8: imagenet_lite0 quantised to 8-bit integers."""

from dataclasses import replace

from models import imagenet, quantise
from models.build_api import BuildContext, BuildResult

REFERENCE = "imagenet_lite0"
# These layers stay FP32: they have few weights, so that costs little size and time, and halves the error.
FIRST_LAYERS = ("_conv_stem", "_blocks.0.", "_blocks.1.")


def build(context: BuildContext) -> BuildResult:
    """Quantise the FP32 model, calibrated on photos that the checks do not use, and compare both."""
    reference = context.load_dependency(REFERENCE)
    model = quantise.quantise(reference, imagenet.calibration(context), FIRST_LAYERS)
    result = imagenet.checked_classifier(model, context)
    metrics = result.manifest_fields["metrics"] | imagenet.agreement(model, reference, context)
    return replace(result, manifest_fields=result.manifest_fields | {"metrics": metrics})
