"""A byte-level BPE tokenizer trained on items, which splits their symbols."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rankscope.tasks.catalog import load_task
from rankscope.tasks.text import text_items


def subword_tokenizer(task: str = "hashhop:mode=trace", n_words: int = 400) -> PreTrainedTokenizerFast:
    """A tokenizer of `n_words` tokens, without padding token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_words,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator((item.full for item in text_items(load_task(task).items("train", 200, 0))), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", clean_up_tokenization_spaces=False)
