from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from vico.base import Base
from vico.errors import BaseError, PromptError
from vico.text import encode_prompts, splice, tokenize_prompts


def test_without_a_concept_it_is_the_library_text_encoder(tiny_base: Base) -> None:
    prompts = tokenize_prompts(tiny_base, ["a photo of a teapot on the beach", ""])
    expected = tiny_base.text_encoder(prompts.input_ids).last_hidden_state
    assert torch.equal(encode_prompts(tiny_base.text_encoder, prompts.input_ids), expected)


def test_ids_are_the_library_tokenizer_ids(tiny_base: Base) -> None:
    text = "a photo of a dog in the snow, good zebra"
    expected = tiny_base.tokenizer(text, padding="max_length", max_length=77, truncation=True)["input_ids"]
    assert tokenize_prompts(tiny_base, [text]).input_ids[0].tolist() == expected


def test_learned_vectors_take_the_place_of_token_embeddings(tiny_base: Base) -> None:
    """The vector of a known word in the placeholder's place is the prompt with that word."""
    words = tokenize_prompts(tiny_base, ["a photo of a teapot on the table"])
    starred = tokenize_prompts(tiny_base, ["a photo of a * on the table"], "*")
    table = tiny_base.text_encoder.get_input_embeddings().weight
    vector = table[tiny_base.encode_text("teapot")][None]
    found = encode_prompts(tiny_base.text_encoder, starred.input_ids, starred.placeholder_position, vector)
    torch.testing.assert_close(found, encode_prompts(tiny_base.text_encoder, words.input_ids), rtol=0, atol=1e-6)
    assert starred.attention_position.tolist() == [5]


def test_a_row_without_placeholder_is_untouched_and_looks_at_the_end_of_text(tiny_base: Base) -> None:
    prompts = tokenize_prompts(tiny_base, ["a dog"])
    found = encode_prompts(
        tiny_base.text_encoder, prompts.input_ids, prompts.placeholder_position, torch.ones(1, 1, 32)
    )
    assert torch.equal(found, encode_prompts(tiny_base.text_encoder, prompts.input_ids))
    assert prompts.attention_position.tolist() == prompts.end_of_text_position.tolist() == [3]
    assert prompts.input_ids[0].argmax().item() == 3


def test_several_vectors_and_rows_are_spliced_each_in_its_place() -> None:
    embeddings, replacements = torch.zeros(2, 5, 3), torch.randn(2, 2, 3)
    out = splice(embeddings, torch.tensor([[1, 2], [-1, 4]]), replacements)
    assert torch.equal(out[0, 1:3], replacements[0])
    assert torch.equal(out[1, 4], replacements[1, 1])
    assert out[1, :4].abs().sum() == 0


def test_gradient_reaches_the_token_alone(tiny_base: Base) -> None:
    prompts = tokenize_prompts(tiny_base, ["a photo of a *"], "*")
    token = torch.zeros(1, 1, 32, requires_grad=True)
    context = encode_prompts(tiny_base.text_encoder, prompts.input_ids, prompts.placeholder_position, token)
    torch.autograd.backward(context.sum())
    assert token.grad is not None
    assert all(p.grad is None for p in tiny_base.text_encoder.parameters())


def test_missing_placeholder_is_refused(tiny_base: Base) -> None:
    with pytest.raises(PromptError, match="no placeholders"):
        tokenize_prompts(tiny_base, ["a photo of a dog"], "*")


def test_an_encoder_that_would_forget_causality_is_refused() -> None:
    config = CLIPTextConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config._attn_implementation = "eager"
    with pytest.raises(BaseError, match="text_encoder"):
        encode_prompts(CLIPTextModel(config), torch.zeros(1, 77, dtype=torch.long))
