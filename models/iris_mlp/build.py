"""iris_mlp: a scaler and a neural network with one hidden layer."""

from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import sklearn_onnx
from models.build_api import BuildContext, BuildResult

HIDDEN_UNITS = 16


def build(context: BuildContext) -> BuildResult:
    """Fit with lbfgs, which suits a small data set. alpha regularises, so that probabilities are less extreme."""
    network = MLPClassifier((HIDDEN_UNITS,), solver="lbfgs", alpha=1.0, max_iter=2000, random_state=sklearn_onnx.SEED)
    estimator = make_pipeline(StandardScaler(), network)
    return sklearn_onnx.classifier(estimator, sklearn_onnx.iris_dataset(), context.manifest)
