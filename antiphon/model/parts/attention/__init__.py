"""Where each step of a decoder looks in the source: softly, at one place, or summed over all alignments."""
