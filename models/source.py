"""A model's folder as it stands in the repository."""

from dataclasses import dataclass
from pathlib import Path

from models.manifest import Manifest

PHOTO_FOLDER = "photos"


@dataclass(frozen=True)
class Source:
    """A model's folder: build.py and model.yaml."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ingredients(self) -> Manifest:
        """The build section: libraries that matter, models needed (name: version), and floors for the metrics."""
        section: Manifest = self.manifest.get("build", {})
        return section

    @property
    def libraries(self) -> list[str]:
        """Distributions whose version is part of the model's freshness."""
        return list(self.ingredients.get("libraries", []))

    @property
    def needs(self) -> list[str]:
        """Names of the models whose built files this one is made from."""
        return list(self.ingredients.get("models", {}))

    @property
    def floors(self) -> dict[str, float]:
        """The least that each metric must be for the model to be put in place."""
        return dict(self.ingredients.get("floors", {}))

    def place(self, output: Path) -> Path:
        """Where the built model stands: <output>/<name>/<version>."""
        return output / self.name / str(self.manifest["version"])

    def photos(self, output: Path) -> list[Path]:
        """Where the pictures stand that the examples name."""
        return [output / PHOTO_FOLDER / it["photo"] for it in self.manifest["examples"] if "photo" in it]
