"""From files to batches of ids: rows, the codecs of each kind of side, splits and padding."""
