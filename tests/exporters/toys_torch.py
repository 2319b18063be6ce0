"""Toy PyTorch modules. `python -m tests.exporters.toys_torch FOLDER` saves them with samples and their outputs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

torch.manual_seed(0)


class Pictures(torch.nn.Module):  # type: ignore[misc]  # torch is not always there to be typed
    """A small network with common layers. Dropout shows whether it is exported in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.dropout, self.classes = torch.nn.Dropout(0.5), torch.nn.Linear(4, 3)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.norm(self.filters(picture))).mean((2, 3))
        answer: torch.Tensor = self.classes(self.dropout(features))
        return answer


class Both(torch.nn.Module):  # type: ignore[misc]  # torch is not always there to be typed
    """Two inputs of different types, two outputs."""

    def forward(self, numbers: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return numbers.gather(1, places), places + 1


class Neighbours(torch.nn.Module):  # type: ignore[misc]  # torch is not always there to be typed
    """Its output for a row depends on the other rows."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers - numbers.mean(0)


class FiveRows(torch.nn.Module):  # type: ignore[misc]  # torch is not always there to be typed
    """Takes exactly five rows."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers + torch.ones(5, 4)


def pictures() -> torch.nn.Module:
    torch.manual_seed(0)
    return Pictures()


def both() -> torch.nn.Module:
    return Both()


def neighbours() -> torch.nn.Module:
    return Neighbours()


def five_rows() -> torch.nn.Module:
    return FiveRows()


def nothing() -> Any:
    return 5


def main(folder: Path) -> None:
    """Write samples, outputs, and the module `pictures` in both file formats."""
    rows = torch.rand(5, 3, 8, 8)
    module = pictures().eval()
    np.savez(folder / "pictures.npz", picture=rows.numpy())
    np.savez(folder / "answers.npz", logits=module(rows).detach().numpy())
    numbers, places = torch.rand(5, 4), torch.randint(0, 4, (5, 2))
    np.savez(folder / "both.npz", numbers=numbers.numpy(), places=places.numpy())
    np.savez(folder / "both_answers.npz", found=numbers.gather(1, places).numpy(), next=(places + 1).numpy())
    np.save(folder / "numbers.npy", numbers.numpy())
    free = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(module, (rows,), dynamic_shapes=free), folder / "pictures.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that TorchScript is deprecated
        torch.jit.script(module).save(str(folder / "pictures.pt"))
    torch.save(module.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
