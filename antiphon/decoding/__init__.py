"""From a model of the next symbol to outputs: greedy, sampling, beam search, scoring, and rules."""
