"""From a model that says what comes next to outputs: greedy, sampling, beam search, scoring, and rules."""
