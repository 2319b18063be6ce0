"""petal_width: a support vector regression on scaled measurements."""

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from models import sklearn_onnx
from models.recipe import Product, Workspace


def build(workspace: Workspace) -> Product:
    """Petal width in centimetres from the other three measurements."""
    flowers = sklearn_onnx.iris_table(target="petal_width")
    estimator = make_pipeline(StandardScaler(), SVR())
    return sklearn_onnx.regressor(estimator, flowers, workspace.manifest)
