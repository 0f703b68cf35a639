"""The special symbols. They are ids and never strings, so text that spells one is ordinary text."""

from __future__ import annotations

from typing import Final

PAD: Final = 0  # fills a batch; masked everywhere; never an output
BOS: Final = 1  # the decoder's first input; never an output
EOS: Final = 2  # ends every source and target; counted in |y| and in every score
UNK: Final = 3  # a symbol outside the vocabulary; masked when decoding
SPECIALS: Final = 4  # ordinary symbols start at this id
FIRST_OUTPUT: Final = EOS  # ids from here on are classes of the softmax: PAD and BOS have no probability
