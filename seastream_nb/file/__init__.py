"""`.ss` files, in SeaStreamer's format."""
