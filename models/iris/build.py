"""iris: a scaler and a support vector machine with calibrated probabilities."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from models import sklearn_onnx
from models.recipe import Product, Workspace


def build(workspace: Workspace) -> Product:
    """One machine on all the training rows; its probabilities are fitted to decisions made by cross-validation."""
    machine = CalibratedClassifierCV(SVC(), ensemble=False)
    estimator = make_pipeline(StandardScaler(), machine)
    return sklearn_onnx.classifier(estimator, sklearn_onnx.iris_table(), workspace.manifest)
