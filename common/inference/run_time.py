"""What of a run depends on the values of the inputs, and not only on their shapes: its time, its rows.

A run on the event loop blocks all requests, so only a model whose run time is bounded by construction may run there.
One measured run does not show that: a loop that counts to the value of an input is quick for 1 and takes seconds for a
million. Each operator of such a model is therefore in the lists below.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.inference.graph_facts import GraphFacts
from common.protocol.tensors import TensorSpec

MAX_INLINE_ROWS = 1024
"""The most rows of a run on the event loop, however short the run of one row is."""

# operators whose run time depends on nothing but the shapes of their inputs
_MAIN = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast CastLike
    Ceil Celu Clip Concat Constant Conv ConvInteger ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div
    Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp EyeLike Flatten Floor Gather GatherElements GatherND Gelu
    Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization GRU HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not
    Or PRelu Pow QLinearConv QLinearMatMul QuantizeLinear RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Transpose Trilu Unsqueeze Where Xor
"""
_MACHINE_LEARNING = """
    ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier
    LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier
    TreeEnsembleRegressor
"""
_BOUNDED = frozenset(_MAIN.split()) | {f"ai.onnx.ml:{kind}" for kind in _MACHINE_LEARNING.split()}
# operators whose outputs are as large as the values of these inputs say: bounded only if those are constants
_SIZE_INPUTS = {
    "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1,), "Range": (0, 1, 2), "Resize": (2, 3),
    "Tile": (1,), "TopK": (1,),
}  # fmt: skip

# operators that drop or find rows by their values, or take another way for the whole batch because of one row's value
_CHOOSE_ROWS = frozenset({"Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique"})


def mixing_reason(facts: GraphFacts) -> str | None:
    """Why batching may change the outputs of a row although no probe shows it; None if no operator can do that."""
    if facts.functions:
        return "the graph defines functions of its own, whose operators are not known"
    for node in facts.nodes:
        if node.kind in _CHOOSE_ROWS:
            return f"operator {node.kind} may choose rows by their values"
    return None


def unbounded_reason(facts: GraphFacts, inputs: Sequence[TensorSpec]) -> str | None:
    """Why a run may take longer than a measured one with inputs of the same shape; None when it cannot."""
    for spec in inputs:
        if spec.datatype == "BYTES":
            return f"input {spec.name!r} is text of any length"
        if spec.any_rank or -1 in spec.shape[1:]:
            return f"input {spec.name!r} has free dimensions beside its rows"
    if facts.functions:
        return "the graph defines functions of its own"
    for node in facts.nodes:
        sizes = _SIZE_INPUTS.get(node.kind)
        if sizes is None and node.kind not in _BOUNDED:
            return f"the run time of operator {node.kind} may depend on values"
        for index in sizes or ():
            name = node.inputs[index] if index < len(node.inputs) else ""
            if name and name not in facts.constants:
                return f"the output of operator {node.kind} is as large as the values of {name!r} say"
    return None
