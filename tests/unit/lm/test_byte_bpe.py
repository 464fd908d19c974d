"""The small byte-level tokenizer and the first weights that go with it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankscope.base.errors import BadInput
from rankscope.lm.byte_bpe import END, build_byte_bpe
from rankscope.lm.text_gpt2 import TextGpt2Size, untrained_text_gpt2

TEXTS = ["Map:\nab12=>cd34\nStart: ab12\nTarget: cd34", "Map:\ncd34=>ab12\nStart: cd34\nTarget: ab12"] * 20
TOKENIZER = build_byte_bpe(TEXTS, 300, 64)


@given(st.text(max_size=40))
def test_reads_and_gives_back_any_text(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_is_a_function_of_texts_and_size() -> None:
    again = build_byte_bpe(TEXTS, 300, 64)
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
    assert len(build_byte_bpe(TEXTS, 257, 64)) == 257


def test_splits_letters_digits_and_marks_apart_and_takes_a_space_along() -> None:
    assert TOKENIZER.tokenize("ab12=>cd34") == ["ab", "12", "=>", "cd", "34"]
    assert TOKENIZER.tokenize(" ab12") == ["Ġab", "12"]
    assert (TOKENIZER.eos_token_id, TOKENIZER.pad_token_id) == (0, 0)
    assert TOKENIZER.convert_ids_to_tokens(0) == END


def test_first_weights_are_a_function_of_the_seed_and_tie_spaced_tokens() -> None:
    size = TextGpt2Size(width=192, n_layers=2, n_positions=64)
    first, again, other = (untrained_text_gpt2(TOKENIZER, size, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    table = first.transformer.wte.weight
    assert not torch.equal(table, other.transformer.wte.weight)
    bare, spaced = TOKENIZER.convert_tokens_to_ids(["ab", "Ġab"])
    bare_2, spaced_2 = TOKENIZER.convert_tokens_to_ids(["cd", "Ġcd"])
    torch.testing.assert_close(table[spaced] - table[bare], table[spaced_2] - table[bare_2])


def test_heads_of_the_first_block_look_so_many_places_back() -> None:
    model = untrained_text_gpt2(TOKENIZER, TextGpt2Size(192, 2, 64), seed=0)
    model.set_attn_implementation("eager")
    tokens = torch.randint(1, len(TOKENIZER), (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attention = model(tokens, output_attentions=True).attentions[0]
    for head, back in enumerate((1, 2, 7, 8)):
        to = attention[:, head, torch.arange(back, 40), torch.arange(40 - back)]
        assert to.mean() > 0.9


def test_a_vocabulary_without_the_arrow_is_refused() -> None:
    with pytest.raises(BadInput, match="=>"):
        untrained_text_gpt2(build_byte_bpe(TEXTS, 257, 64), TextGpt2Size(), 0)
