"""text_language: classifies the language of a text by character n-grams, with a linear model."""

from models import gettext_catalogues, text_classifier
from models.build_api import BuildContext, BuildResult

# Locales whose name is not that of the language.
LOCALES = {"pt": "pt_BR", "zh": "zh_Hans"}
ORIGINAL = "en"
MINIMUM_LENGTH = 18  # characters of an original; single words are often the same in many languages
SHA256 = "c018fe150661e01c1b1ccdf32e10bb148b959048417641f60ea2c131d3613063"  # of the catalogues of those languages


def data(context: BuildContext) -> text_classifier.TextDataset:
    """The messages in all languages of the manifest's labels. The originals are the English texts."""
    labels = context.manifest["labels"]
    locales = {LOCALES.get(label, label): label for label in labels if label != ORIGINAL}
    found = gettext_catalogues.messages(context.wheels, list(locales), SHA256)
    rows = {(it.original, it.text, locales[it.locale]) for it in found if len(it.original) >= MINIMUM_LENGTH}
    rows |= {(original, original, ORIGINAL) for original, _, _ in rows}
    originals, translated, languages = zip(*sorted(rows), strict=True)
    return text_classifier.split(originals, translated, [labels.index(language) for language in languages])


def build(context: BuildContext) -> BuildResult:
    """Train a TF-IDF classifier. The same messages are held out in every language."""
    return text_classifier.classifier(context, data(context), text_classifier.vectoriser(context.manifest))
