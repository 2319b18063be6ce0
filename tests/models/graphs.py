"""Models of a few nodes: datatypes, ranks, text, missing values, several inputs, outputs of every kind."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.models.case import Case, N, case, columns, entry, graph, node, values

NAN, INF = float("nan"), float("inf")
TEXTS = ["male", "", "naïve 日本", "a\0b", "b'male'", '"quoted" \\ \n']
EXTREMES: dict[str, list[object]] = {
    "BOOL": [True, False], "UINT8": [0, 255], "UINT16": [0, 2**16 - 1], "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**53 + 1, 2**64 - 1], "INT8": [-128, 127], "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1], "INT64": [-(2**63), 2**53 + 1, 2**63 - 1], "FP16": [-65504.0, 0.1],
    "FP32": [-3.4028235e38, 1e-45, 0.1], "FP64": [-1.7976931348623157e308, 5e-324, 0.1], "BYTES": list(TEXTS),
}  # fmt: skip


def identity(name: str, datatype: str, shape: tuple[int, ...], array: object, **rest: object) -> Case:
    return case(
        name, [node("Identity", "x", "y")], [entry("x", datatype, *shape)], [entry("y", datatype, *shape)],
        {"x": np.asarray(array)}, **rest,
    )  # fmt: skip


def datatypes() -> list[Case]:
    """Every datatype with its extremes, by itself and as named columns."""
    found = []
    for datatype, extremes in EXTREMES.items():
        found.append(identity(f"rows_{datatype.lower()}", datatype, (N,), values(datatype, *extremes)))
        array = values(datatype, *extremes[:2]).reshape(1, 2)
        features = entry("x", datatype, N, 2, features=columns("a", "b"))
        found.append(
            case(
                f"columns_{datatype.lower()}", [node("Identity", "x", "y")], [features], [entry("y", datatype, N, 2)],
                {"x": array}, rows=[dict(zip("ab", array.reshape(-1).tolist(), strict=True))], task="regression",
            )
        )  # fmt: skip
    return found


def ranks() -> list[Case]:
    """Shapes: none, fixed, many dimensions, sizes of 0, and ranks that the graph leaves open."""
    block = np.arange(24, dtype=np.float32)
    scalar = [node("ReduceSum", "x", "y", keepdims=0)]
    open_rank = [entry("x", "FP32", N, any_rank=True)], [entry("y", "FP32", N, any_rank=True)]
    return [
        identity("rank_0", "FP32", (), np.array(1.5, np.float32)),
        identity("fixed_shape", "FP32", (2, 3), block[:6].reshape(2, 3)),
        identity("rank_3", "FP32", (N, 2, 3), block.reshape(4, 2, 3)),
        identity("rank_5", "INT64", (N, 1, 2, N, 2), np.arange(24, dtype=np.int64).reshape(3, 1, 2, 2, 2)),
        identity("no_rows", "FP32", (N, 4), np.zeros((0, 4), np.float32)),
        identity("no_text", "BYTES", (N,), np.empty(0, object)),
        identity("empty_dimension", "FP32", (N, N), np.zeros((3, 0), np.float32)),
        case("to_scalar", scalar, [entry("x", "FP32", N)], [entry("y", "FP32")], {"x": block}),
        case("open_rank_matrix", [node("Abs", "x", "y")], *open_rank, {"x": -block.reshape(2, 3, 4)}),
        case("open_rank_scalar", [node("Neg", "x", "y")], *open_rank, {"x": np.array(2, np.float32)}),
        case(
            "unstated_output_rank", [node("Reshape", "x shape", "y")],
            [entry("x", "FP32", N), entry("shape", "INT64", N)], [entry("y", "FP32", N, N, unstated=True)],
            {"x": block, "shape": np.array([4, 6])},
        ),
    ]  # fmt: skip


def texts() -> list[Case]:
    """What reaches a model as text, and what comes out of it."""
    ml = {"domain": "ai.onnx.ml"}
    encoder = {"keys_strings": ["male", "", "a\0b"], "values_int64s": [7, 8, 9], "default_int64": -1, **ml}
    words = entry("x", "BYTES", N, 1, features=columns("sex"))
    labels = {"keys_int64s": [1, 2], "values_strings": ["naïve", ""], "default_string": "?", **ml}
    grams = {
        "mode": "TF", "min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0, "ngram_counts": [0],
        "ngram_indexes": [0, 1], "pool_strings": ["male", "日本"],
    }  # fmt: skip
    return [
        case(
            "text_to_id", [node("LabelEncoder", "x", "y", **encoder)], [words], [entry("y", "INT64", N, 1)],
            {"x": values("BYTES", "male", "", "a\0b", "other").reshape(4, 1)},
            rows=[{"sex": "male"}, {"sex": ""}, {"sex": "a\0b"}, {"sex": "other"}], task="regression",
        ),
        case(
            "id_to_text", [node("LabelEncoder", "x", "y", **labels)], [entry("x", "INT64", N, 1)],
            [entry("y", "BYTES", N, 1)], {"x": np.array([[1], [2], [3]])},
        ),
        case(
            "upper_case", [node("StringNormalizer", "x", "y", case_change_action="UPPER", locale="C.UTF-8")],
            [entry("x", "BYTES", N)],
            [entry("y", "BYTES", N)], {"x": values("BYTES", "male", "日本")},
        ),
        case(
            "concatenated", [node("StringConcat", "x z", "y")], [entry("x", "BYTES", N), entry("z", "BYTES", N)],
            [entry("y", "BYTES", N)], {"x": values("BYTES", "a", ""), "z": values("BYTES", "é", "\0")}, opset=20,
            rows=[{"x": "a", "z": "é"}, {"x": "", "z": "\0"}],
        ),
        case(
            "counted_words", [node("TfIdfVectorizer", "x", "y", **grams)], [entry("x", "BYTES", N)],
            [entry("y", "FP32", 2)], {"x": values("BYTES", "male", "日本", "male")},
        ),
    ]  # fmt: skip


def numbers() -> list[Case]:
    """NaN and infinity in and out, optional inputs, and several inputs."""
    row = {"x": np.array([[1, NAN, -INF]], np.float32)}
    imputed = [node("IsNaN", "x", "nan"), node("Where", "nan zero x", "y")]
    imputer = {"constants": {"zero": np.float32(0)}, "task": "regression"}
    missing = entry("x", "FP32", N, 2, missing=True, features=columns("a", "b"))
    shift = [node("Add", "x shift", "y")]
    optional, two = entry("shift", "FP32", 1, optional=True), {"shift": np.array([2], np.float32)}
    twelve = [entry(f"x{index}", "FP32", N) for index in range(12)]
    return [
        identity("not_finite", "FP32", (N, 3), row["x"]),
        identity("not_finite_fp64", "FP64", (N,), np.array([NAN, INF, 1])),
        identity("not_finite_fp16", "FP16", (N,), np.array([NAN, -INF], np.float16)),
        case("makes_nan", [node("Log", "x", "y")], [entry("x", "FP32", N)], [entry("y", "FP32", N)],
             {"x": np.array([1, -1, 0], np.float32)}),
        case("imputer", imputed, [missing], [entry("y", "FP32", N, 2)], {"x": np.array([[1.5, NAN]], np.float32)},
             rows=[{"a": 1.5, "b": None}], **imputer),
        case("imputer_unmarked", imputed, [entry("x", "FP64", N, 2)], [entry("y", "FP64", N, 2)],
             {"x": np.array([[NAN, 2.5]])}, constants={"zero": np.float64(0)}),
        Case("default_unstated", graph(shift, [entry("x", "FP32", N), optional], [entry("y", "FP32", N)], two),
             {"inputs": [entry("x", "FP32", N)], "outputs": [entry("y", "FP32", N)]}, {"x": np.ones(3, np.float32)}),
        case("default_overridden", shift, [entry("x", "FP32", N), optional],
             [entry("y", "FP32", N)], {"x": np.ones(3, np.float32), "shift": np.array([5], np.float32)},
             constants=two),
        case("default_left_out", shift, [entry("x", "FP32", N), optional],
             [entry("y", "FP32", N)], {"x": np.ones(3, np.float32)}, constants=two),
        case("twelve_inputs", [node("Sum", " ".join(one["name"] for one in twelve), "y")], twelve,
             [entry("y", "FP32", N)], {one["name"]: np.array([index], np.float32) for index, one in enumerate(twelve)},
             rows=[{one["name"]: index for index, one in enumerate(twelve)}], task="regression"),
        case("mixed_columns", [node("Cast", "old", "o", to=TensorProto.FLOAT), node("Cast", "fee", "f", to=1),
                               node("Cast", "flag", "g", to=1), node("Mul", "o f", "of"), node("Add", "of g", "y")],
             [entry("old", "INT64", N, 1), entry("fee", "FP64", N, 1), entry("flag", "BOOL", N, 1)],
             [entry("y", "FP32", N, 1)],
             {"old": np.array([[3]]), "fee": np.array([[0.5]]), "flag": np.array([[True]])},
             rows=[{"old": 3, "fee": 0.5, "flag": True}], task="regression"),
    ]  # fmt: skip


def run_times() -> list[Case]:
    """Models whose run time or output depends on the values of an input."""
    count = {"x": np.array([3], np.int64)}
    one = [entry("x", "INT64", 1)]
    body = helper.make_graph(
        [node("Identity", "going", "on"), node("Add", "so_far i", "more")], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("going", TensorProto.BOOL, []),
         helper.make_tensor_value_info("so_far", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("more", TensorProto.INT64, [1])],
    )  # fmt: skip
    scalar = [node("Squeeze", "x", "n")]
    ends = {"zero": np.int64(0), "step": np.int64(1)}
    return [
        case("loop", [*scalar, node("Loop", "n going0 start", "y", body=body)], one, [entry("y", "INT64", 1)], count,
             constants={"going0": np.True_, "start": np.zeros(1, np.int64)}),
        case("range", [*scalar, node("Range", "zero n step", "y")], one, [entry("y", "INT64", N)], count,
             constants=ends),
        case("tile", [node("Tile", "row x", "y")], one, [entry("y", "FP32", N)], count,
             constants={"row": np.arange(2, dtype=np.float32)}),
        case("top_k", [node("TopK", "row x", "y where")], one, [entry("y", "FP32", N), entry("where", "INT64", N)],
             count, constants={"row": np.arange(9, dtype=np.float32)}),
        case("filled", [node("ConstantOfShape", "x", "y")], one, [entry("y", "FP32", N)], count),
    ]  # fmt: skip


def picky() -> list[Case]:
    """Models that refuse the usual probes: size 1, value 0, sizes that are no multiple."""
    image = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    divided = [node("Div", "hundred x", "y")]
    sevens = {"y": [entry("y", "FP32", N, 7)], "x": [entry("x", "FP32", N)]}
    return [
        case("convolution_3x3", [node("Conv", "x w", "y")], [entry("x", "FP32", N, 1, N, N)],
             [entry("y", "FP32", N, 1, N, N)], {"x": image}, constants={"w": np.ones((1, 1, 3, 3), np.float32)}),
        case("ids_from_1", divided, [entry("x", "INT64", N)], [entry("y", "INT64", N)], {"x": np.array([7, 9])},
             constants={"hundred": np.int64(100)}),
        case("multiple_of_7", [node("Reshape", "x shape", "y")], sevens["x"], sevens["y"],
             {"x": np.arange(14, dtype=np.float32)}, constants={"shape": np.array([-1, 7])}),
        case("multiple_of_7_by_example", [node("Reshape", "x shape", "y")], sevens["x"], sevens["y"],
             {"x": np.arange(14, dtype=np.float32)}, constants={"shape": np.array([-1, 7])},
             examples=[{"inputs": {"x": [1, 2, 3, 4, 5, 6, 7]}}]),
    ]  # fmt: skip
