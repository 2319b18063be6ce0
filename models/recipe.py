"""A recipe: the folder of one model under models/."""

from dataclasses import dataclass
from pathlib import Path

from models.manifest import Manifest

PHOTO_FOLDER = "photos"


@dataclass(frozen=True)
class Recipe:
    """A folder with build.py and model.yaml."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def build_section(self) -> Manifest:
        """The section `build:` of model.yaml: libraries, models (name: version), extra and minimum_metrics."""
        section: Manifest = self.manifest.get("build", {})
        return section

    @property
    def libraries(self) -> list[str]:
        """Python distributions that the build uses. Another version of one of them makes the model out of date."""
        return list(self.build_section.get("libraries", []))

    @property
    def dependencies(self) -> list[str]:
        """Names of the models that this one is built from."""
        return list(self.build_section.get("models", {}))

    @property
    def minimum_metrics(self) -> dict[str, float]:
        """The minimum of each metric. A model that does not reach one is not published."""
        return dict(self.build_section.get("minimum_metrics", {}))

    def version_folder(self, output: Path) -> Path:
        """Where the built model is published: <output>/<name>/<version>."""
        return output / self.name / str(self.manifest["version"])

    def example_files(self, output: Path) -> list[Path]:
        """The paths of the images that the examples name."""
        return [output / PHOTO_FOLDER / it["photo"] for it in self.manifest["examples"] if "photo" in it]
