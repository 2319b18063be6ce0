"""iris_rf: random forests whose probabilities are calibrated by cross-validation."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier

from models import sklearn_onnx
from models.build_api import BuildContext, BuildResult

TREES = 20
FOLDS = 10


def build(context: BuildContext) -> BuildResult:
    """Fit one forest for each fold, calibrated on the rows of that fold. The output is the mean of the ten forests."""
    forest = RandomForestClassifier(n_estimators=TREES, random_state=sklearn_onnx.SEED)
    calibrated = CalibratedClassifierCV(forest, cv=FOLDS)
    return sklearn_onnx.classifier(calibrated, sklearn_onnx.iris_dataset(), context.manifest)
