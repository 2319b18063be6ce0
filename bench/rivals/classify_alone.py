"""Classify a picture in one process without a server: hand-written, with Pillow, numpy and ONNX Runtime.

`python -m bench.rivals.classify_alone MODEL_FOLDER` takes a `Plan` whose one request is a JPEG file, and answers a
`Result`, as the load generators do.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from bench.rivals import alone
from bench.rivals.bare import single_threaded

TOP = 5


class Classifier:
    """EfficientNet-Lite0, or another model with the same kind of preprocessing."""

    def __init__(self, folder: Path) -> None:
        manifest = yaml.safe_load((folder / "model.yaml").read_text())
        steps = {name: rule for step in manifest["preprocessing"]["steps"] for name, rule in step.items()}
        self.share, self.size = steps["crop"]["side"] / steps["crop"]["of"], steps["resize"]["width"]
        self.mean, self.scale = np.float32(steps["normalise"]["mean"]), np.float32(steps["normalise"]["scale"])
        self.labels: list[str] = manifest["labels"]
        self.session = single_threaded(str(folder / "model.onnx"))
        self.input_name = self.session.get_inputs()[0].name

    def classify(self, jpeg: bytes) -> list[tuple[str, float]]:
        """The most likely labels with their probabilities."""
        logits: NDArray[Any] = self.session.run(None, {self.input_name: self.tensor(jpeg)})[0][0]
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        return [(self.labels[one], float(shares[one])) for one in np.argsort(-shares)[:TOP]]

    def tensor(self, jpeg: bytes) -> NDArray[np.float32]:
        """FP32 [1, 3, size, size], from the square in the centre of the picture."""
        picture: Image.Image = Image.open(BytesIO(jpeg))
        if picture.mode != "RGB":  # else it would be copied
            picture = picture.convert("RGB")
        side = round(self.share * min(picture.size))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        pixels = np.asarray(square.resize((self.size, self.size), Image.Resampling.BICUBIC), np.float32)
        return np.ascontiguousarray(((pixels - self.mean) / self.scale).transpose(2, 0, 1)[None])


def main() -> None:
    """Read the plan from standard input, run it, write the result."""
    plan, classifier = alone.given(), Classifier(Path(sys.argv[1]))
    alone.report(plan, lambda: classifier.classify(plan.requests[0]))


if __name__ == "__main__":
    main()
