"""The Redis backend: SeaStreamer's wire layout over plain connections."""
