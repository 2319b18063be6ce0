"""Turns what a caller sends (an image, named values, a text) into a model's input, by the steps in its model.yaml."""
