"""From files to batches, one small file a step: rows, text, vocabulary, encode, batch."""
