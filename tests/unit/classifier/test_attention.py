"""Every attention beside softmax(q k' / sqrt(D)) v written out in float64, ad by ad.

The kernels themselves need a GPU. On CPU their place is taken by plain ones with the signatures of
torch's, so that all that is given to them is checked here.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from transformers import BertConfig

from rubert_ood.classifier import attention
from rubert_ood.classifier.attention import (
    SHORT_TOKENS,
    ByLength,
    Packed,
    choose_attention,
    flash,
    small_tiles,
)

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


def plain_varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None):
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
        weights = torch.einsum("qad,kad->aqk", q, k) * (scale or q.shape[2] ** -0.5)
        found.append(torch.einsum("aqk,kad->qad", weights.softmax(2), v))
    return torch.cat(found).to(query.dtype)


def plain_efficient(
    query,
    key,
    value,
    bias,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    **options,
):
    """Do the same with the signature of the other kernel; it takes any numbers."""
    assert (options.pop("dropout_p"), options.pop("custom_mask_type"), bias) == (
        0,
        0,
        None,
    )
    assert options.pop("compute_log_sumexp") == torch.is_grad_enabled()
    ends = cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k
    found = plain_varlen(query[0], key[0], value[0], *ends, **options)
    return found[None], torch.empty(0)


@pytest.fixture
def kernels(monkeypatch):
    """Plain ones in the place of torch's."""
    monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    monkeypatch.setattr(attention, "efficient_attention", plain_efficient)


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
@pytest.mark.parametrize("kernel", [None, flash, small_tiles])
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_attention_stays_inside_each_ad(request, device, kernel, dtype, lengths, heads):
    if device == "cpu":
        request.getfixturevalue("kernels")
    elif kernel is flash and dtype == torch.float32:
        pytest.skip("the kernel computes in bf16 and fp16")
    kind = ByLength if kernel is None else partial(Packed, (kernel,))
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


def choose(device: str = "cpu", dtype: torch.dtype = torch.bfloat16):
    """Return the kernels that are taken, short ads first; none is attention by length."""
    chosen = choose_attention(torch.device(device), dtype, CONFIG)
    return () if chosen is ByLength else chosen.args[0]


def test_attention_is_by_length_where_no_kernel_runs():
    assert choose() == ()


def test_attention_takes_every_kernel_that_gives_the_numbers(kernels, monkeypatch):
    assert choose() == (small_tiles, flash)
    monkeypatch.setattr(attention, "varlen_attn", None)  # torch has none
    assert choose() == (small_tiles,)


@pytest.mark.parametrize("failure", [RuntimeError, TypeError, ValueError])
def test_attention_leaves_a_kernel_that_refuses_the_heads(kernels, monkeypatch, failure):
    def refuse(*_, **__):
        raise failure("head_size must be a multiple of 8")

    monkeypatch.setattr(attention, "efficient_attention", refuse)
    assert choose() == (flash,)


def test_attention_leaves_a_kernel_that_is_wrong_for_cls_alone(kernels, monkeypatch):
    def wrong(query, *others):
        found = plain_varlen(query, *others)
        return found + 0.1 if len(query) == len(attention.TRIAL_LENGTHS) else found

    monkeypatch.setattr(attention, "varlen_attn", wrong)
    assert choose() == (small_tiles,)


@pytest.mark.parametrize(("longest", "index"), [(SHORT_TOKENS, 0), (SHORT_TOKENS + 1, 1)])
def test_attention_has_a_kernel_for_short_ads_and_one_for_long_ones(longest, index):
    kernels, lengths = (small_tiles, flash), np.array([longest, 3])
    assert Packed(kernels, lengths, torch.tensor(lengths)).kernel is kernels[index]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_attention_on_a_gpu_has_kernels_for_its_numbers():
    assert choose("cuda") == (small_tiles, flash)
    assert choose("cuda", torch.float32) == (small_tiles,)
