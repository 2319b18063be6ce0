"""From what a caller sends (a picture, named values, a text) to a model's input, by the steps in its model.yaml."""
