"""Standard input and output as a place for streams: one line a message."""
