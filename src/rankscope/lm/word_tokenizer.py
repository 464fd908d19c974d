"""The tiny bases' tokenizer: one token per word; `=>` and line breaks are delimiters that decode restores."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rankscope.base.vocabulary import ID, PAD, STOP

_SYMBOL = "[a-z][2-9]"
_ARROW = f"(?<= {_SYMBOL}) (?={_SYMBOL}(?: {_SYMBOL} {_SYMBOL})*(?: (?:Start|Look):))"
_LINE = f"(?<=Map:|{_SYMBOL}) (?={_SYMBOL}=>)"
_MARK = " (?=(?:Start|Hops|Task|Target|Look):)"


def build_word_tokenizer() -> PreTrainedTokenizerFast:
    """A fast tokenizer over `rankscope.base.vocabulary`, loadable with plain `AutoTokenizer`.

    Encoding splits at spaces, line breaks and `=>`, but not inside `shortest path`. Decoding joins words with
    spaces, pairs the symbols of a complete map as `key=>value` lines, and begins a line at each mark.
    """
    core = Tokenizer(models.WordLevel(dict(ID), unk_token=None))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"=>|\n| (?!path)"), behavior="removed")
    core.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex("^|$"), " "),
            decoders.Fuse(),
            decoders.Replace("  ", " "),
            decoders.Replace(Regex(_ARROW), "=>"),
            decoders.Replace(Regex(_LINE), "\n"),
            decoders.Replace(Regex(_MARK), "\n"),
            decoders.Replace(Regex("^ | $"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=STOP,
        model_max_length=128,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
