"""message_topic_ja: classifies Japanese messages by the component of Django they are from, by their morphemes."""

from importlib import import_module

from models import gettext_catalogues, text_classifier
from models.build_api import BuildContext, BuildResult

SHA256 = "e840f5d427f0e7a5378c8832d621634308d97decc2379670307353280dfdda05"  # of the Japanese catalogues
MINIMUM_LENGTH = 4  # characters; shorter messages carry too little information


def analyser() -> text_classifier.Analyser:
    """A tokeniser that returns dictionary forms, with Sudachi's split mode C (longest units).

    It is the same as the step `ngrams` with `analyser: sudachi` in common/preprocessing.
    """
    library = import_module("sudachipy")
    tokenizer = library.Dictionary(dict="small").tokenizer(mode=library.SplitMode.C)

    def analyse(text: str) -> list[str]:
        forms = (word.dictionary_form() for word in tokenizer.tokenize(text))
        return [form for form in forms if not form.isspace()]

    return analyse


def data(context: BuildContext) -> text_classifier.TextDataset:
    """The messages of the components that the manifest's labels name, without the headers of the catalogues."""
    labels = context.manifest["labels"]
    found = gettext_catalogues.messages(context.wheels, ["ja"], SHA256)
    rows = [it for it in found if it.component in labels and it.original and len(it.text) >= MINIMUM_LENGTH]
    answers = [labels.index(it.component) for it in rows]
    return text_classifier.split([it.original for it in rows], [it.text for it in rows], answers)


def build(context: BuildContext) -> BuildResult:
    """Train as text_language does, with morphemes instead of characters."""
    return text_classifier.classifier(context, data(context), text_classifier.vectoriser(context.manifest, analyser()))
