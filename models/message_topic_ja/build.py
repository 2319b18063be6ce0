"""message_topic_ja: which part of a program a Japanese message is from, by the morphemes that it is made of."""

from importlib import import_module

from models import catalogues, texts
from models.recipe import Product, Workspace

SHA256 = "e840f5d427f0e7a5378c8832d621634308d97decc2379670307353280dfdda05"  # of the Japanese catalogues
SHORTEST = 4  # characters; less says little


def analyser() -> texts.Analyser:
    """Dictionary forms, words cut long: what the step `ngrams` with `analyser: sudachi` stands for."""
    library = import_module("sudachipy")
    tokenizer = library.Dictionary(dict="small").tokenizer(mode=library.SplitMode.C)

    def analyse(text: str) -> list[str]:
        forms = (word.dictionary_form() for word in tokenizer.tokenize(text))
        return [form for form in forms if not form.isspace()]

    return analyse


def data(workspace: Workspace) -> texts.Texts:
    """Every message of the parts that the manifest's labels name; a catalogue's head translates nothing."""
    labels = workspace.manifest["labels"]
    found = catalogues.messages(workspace.wheels, ["ja"], SHA256)
    rows = [it for it in found if it.part in labels and it.original and len(it.text) >= SHORTEST]
    answers = [labels.index(it.part) for it in rows]
    return texts.split([it.original for it in rows], [it.text for it in rows], answers)


def build(workspace: Workspace) -> Product:
    """As text_language, with morphemes in place of characters."""
    return texts.classifier(workspace, data(workspace), texts.vectoriser(workspace.manifest, analyser()))
