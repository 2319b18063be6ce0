"""What several patterns would otherwise copy: the five roles and what they stand on."""

RELEASE = "0.1.0"
