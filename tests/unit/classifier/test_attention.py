"""Both attentions beside softmax(q k' / sqrt(D)) v written out in float64, ad by ad.

The varlen kernel itself needs a GPU. On CPU its place is taken by a plain one with the signature of
torch.nn.attention.varlen.varlen_attn, so that all that is given to it is checked here.
"""

import math

import numpy as np
import pytest
import torch
from transformers import BertConfig

from rubert_ood.classifier import attention
from rubert_ood.classifier.attention import ByLength, Varlen, choose_attention

HEADS = [(3, 8), (2, 26)]
NUMBERS = [torch.float32, torch.bfloat16]
LENGTHS = [[1], [9], [20, 7, 7, 2], [3, 3, 3], [40, 1, 1]]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    ),
]


def plain_varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale):
    """Attend as torch's kernel does, one ad at a time; refuse what the kernel refuses."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.dtype in (torch.bfloat16, torch.float16) or query.device.type == "cpu"
    assert query.shape[2] % 8 == 0
    rows, columns = cu_seq_q.diff(), cu_seq_k.diff()
    assert (int(rows.max()), int(columns.max())) == (max_q, max_k)
    assert (int(rows.sum()), int(columns.sum())) == (len(query), len(key))
    found = []
    for ad in range(len(rows)):
        q = query[cu_seq_q[ad] : cu_seq_q[ad + 1]].float()
        k, v = (rows[cu_seq_k[ad] : cu_seq_k[ad + 1]].float() for rows in (key, value))
        weights = torch.einsum("qad,kad->aqk", q, k) * scale
        found.append(torch.einsum("aqk,kad->qad", weights.softmax(2), v))
    return torch.cat(found).to(query.dtype)


def exact(query_TAD, key_TAD, value_TAD, lengths: list[int]) -> np.ndarray:
    """Return the context of every token, float64."""
    q, k, v = (rows.cpu().double().numpy() for rows in (query_TAD, key_TAD, value_TAD))
    context, start = np.empty_like(q), 0
    for length in lengths:
        ad = slice(start, start + length)
        for head in range(q.shape[1]):
            weights = np.exp(q[ad, head] @ k[ad, head].T / math.sqrt(q.shape[2]))
            weights /= weights.sum(axis=1, keepdims=True)
            context[ad, head] = weights @ v[ad, head]
        start += length
    return context


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [ByLength, Varlen])
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_attention_stays_inside_each_ad(monkeypatch, device, kind, dtype, lengths, heads):
    if kind is Varlen and device == "cpu":
        monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    elif kind is Varlen and dtype == torch.float32:
        pytest.skip("the kernel computes in bf16 and fp16")
    noise = torch.Generator().manual_seed(0)
    shape = (3, sum(lengths), *heads)
    query, key, value = torch.randn(shape, generator=noise).to(device, dtype)
    lengths_N = torch.tensor(lengths, device=device)
    attend = kind(np.array(lengths), lengths_N)
    expected = exact(query, key, value, lengths)
    cls_N = np.cumsum(lengths) - lengths
    atol = 1e-5 if dtype == torch.float32 else 0.03
    for queries, cls_alone in ((query, False), (query[torch.from_numpy(cls_N)], True)):
        got = attend(queries, key, value, cls_alone=cls_alone)
        assert got.shape == queries.shape
        assert got.dtype == dtype
        wanted = expected[cls_N] if cls_alone else expected
        np.testing.assert_allclose(got.cpu().float(), wanted, atol=atol)


CONFIG = BertConfig(hidden_size=24, num_attention_heads=3)


def choose(device: str = "cpu") -> type:
    return choose_attention(torch.device(device), torch.bfloat16, CONFIG)


def test_attention_is_by_length_where_the_kernel_does_not_run():
    assert choose() is ByLength


def test_attention_is_varlen_where_the_kernel_gives_the_numbers(monkeypatch):
    monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    assert choose() is Varlen


@pytest.mark.parametrize("failure", [RuntimeError, TypeError, ValueError])
def test_attention_is_by_length_where_the_kernel_refuses_the_heads(monkeypatch, failure):
    def refuse(*_, **__):
        raise failure("head_size must be a multiple of 8")

    monkeypatch.setattr(attention, "varlen_attn", refuse)
    assert choose() is ByLength


def test_attention_is_by_length_where_torch_has_no_kernel(monkeypatch):
    monkeypatch.setattr(attention, "varlen_attn", None)
    assert choose() is ByLength


def test_attention_is_by_length_where_the_kernel_is_wrong_for_cls_alone(monkeypatch):
    def wrong(query, *others, scale):
        found = plain_varlen(query, *others, scale=scale)
        return found + 0.1 if len(query) == len(attention.TRIAL_LENGTHS) else found

    monkeypatch.setattr(attention, "varlen_attn", wrong)
    assert choose() is ByLength


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_attention_on_a_gpu_is_varlen_for_bf16():
    assert choose("cuda") is Varlen
