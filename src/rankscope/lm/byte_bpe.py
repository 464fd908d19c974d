"""A byte-level BPE tokenizer trained on given texts: GPT-2's way of splitting, a small vocabulary."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
"""The one special token, id 0: it stops a text and fills up a batch."""


def build_byte_bpe(texts: Iterable[str], vocab_size: int, n_positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer that reads any text, a function of the texts and the size alone.

    Like GPT-2's it splits letters, digits and marks apart, takes one space along with what follows, and merges bytes
    within such pieces only. A vocabulary of 257 has no merges.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=END,
        model_max_length=n_positions,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
