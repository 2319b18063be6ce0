"""iris_rf: random forests whose probabilities are calibrated by cross-validation."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier

from models import sklearn_onnx
from models.recipe import Product, Workspace

TREES = 20
FOLDS = 10


def build(workspace: Workspace) -> Product:
    """A forest a fold, each calibrated on the rows it has not seen; the answer is the mean of the ten."""
    forest = RandomForestClassifier(n_estimators=TREES, random_state=sklearn_onnx.SEED)
    calibrated = CalibratedClassifierCV(forest, cv=FOLDS)
    return sklearn_onnx.classifier(calibrated, sklearn_onnx.iris_table(), workspace.manifest)
