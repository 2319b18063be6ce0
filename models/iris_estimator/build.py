"""iris_estimator: the support vector machine of iris twice, as a file of scikit-learn's (skops) and as ONNX."""

import hashlib
from dataclasses import replace

from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skops import io

from models import sklearn_onnx
from models.build_api import BuildContext, BuildResult

FILE = "model.skops"


def build(context: BuildContext) -> BuildResult:
    """Fit as iris does. The manifest states the sha256 of the estimator's file beside that of the ONNX file."""
    classifier = CalibratedClassifierCV(SVC(), ensemble=False)
    estimator = make_pipeline(StandardScaler(), classifier)
    result = sklearn_onnx.classifier(estimator, sklearn_onnx.iris_dataset(), context.manifest)
    content = io.dumps(estimator)
    source = context.manifest["source"] | {FILE: hashlib.sha256(content).hexdigest()}
    return replace(result, files={FILE: content}, manifest_fields=result.manifest_fields | {"source": source})
