"""petal_width: a support vector regression on scaled measurements."""

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from models import sklearn_onnx
from models.build_api import BuildContext, BuildResult


def build(context: BuildContext) -> BuildResult:
    """Predict the petal width in cm from the other three measurements."""
    flowers = sklearn_onnx.iris_dataset(target="petal_width")
    estimator = make_pipeline(StandardScaler(), SVR())
    return sklearn_onnx.regressor(estimator, flowers, context.manifest)
