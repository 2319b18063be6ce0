"""iris_mlp: a scaler and a neural network with one hidden layer."""

from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import sklearn_onnx
from models.recipe import Product, Workspace

HIDDEN_UNITS = 16


def build(workspace: Workspace) -> Product:
    """lbfgs suits a table this small; alpha keeps the network from being certain of everything."""
    network = MLPClassifier((HIDDEN_UNITS,), solver="lbfgs", alpha=1.0, max_iter=2000, random_state=sklearn_onnx.SEED)
    estimator = make_pipeline(StandardScaler(), network)
    return sklearn_onnx.classifier(estimator, sklearn_onnx.iris_table(), workspace.manifest)
