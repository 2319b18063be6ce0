"""From a model as its framework keeps it to one that any pattern serves: `python -m models.exporters --help`."""
