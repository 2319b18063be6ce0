"""iris: a scaler and a support vector machine with calibrated probabilities."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from models import sklearn_onnx
from models.build_api import BuildContext, BuildResult


def build(context: BuildContext) -> BuildResult:
    """Fit one SVC on all training rows. Its probabilities are calibrated on cross-validated decision values."""
    classifier = CalibratedClassifierCV(SVC(), ensemble=False)
    estimator = make_pipeline(StandardScaler(), classifier)
    return sklearn_onnx.classifier(estimator, sklearn_onnx.iris_dataset(), context.manifest)
