"""text_language: a linear classifier of n-grams of characters."""

from models import catalogues, texts
from models.recipe import Product, Workspace

# Locales of the catalogues that are not called like the language.
LOCALES = {"pt": "pt_BR", "zh": "zh_Hans"}
ORIGINAL = "en"
SHORTEST = 18  # characters of an original; single words are the same in many languages
SHA256 = "c018fe150661e01c1b1ccdf32e10bb148b959048417641f60ea2c131d3613063"  # of the catalogues of those languages


def data(workspace: Workspace) -> texts.Texts:
    """Every message in every language of the manifest's labels, and its original as English."""
    labels = workspace.manifest["labels"]
    locales = {LOCALES.get(label, label): label for label in labels if label != ORIGINAL}
    found = catalogues.messages(workspace.wheels, list(locales), SHA256)
    rows = {(it.original, it.text, locales[it.locale]) for it in found if len(it.original) >= SHORTEST}
    rows |= {(original, original, ORIGINAL) for original, _, _ in rows}
    originals, translated, languages = zip(*sorted(rows), strict=True)
    return texts.split(originals, translated, [labels.index(language) for language in languages])


def build(workspace: Workspace) -> Product:
    """The same messages are held out in every language."""
    return texts.classifier(workspace, data(workspace), texts.vectoriser(workspace.manifest))
