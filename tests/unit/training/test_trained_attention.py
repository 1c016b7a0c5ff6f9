"""Attention of training on a GPU, with a plain kernel that has the signature of torch's in its
place, beside attention by length; on a GPU with the kernel itself."""

import logging

import numpy as np
import pytest
import torch
from transformers import BertConfig

from rubert_ood.classifier import attention
from rubert_ood.classifier.attention import ByLength
from rubert_ood.classifier.precision import Device
from rubert_ood.training import trained_attention
from rubert_ood.training.trained_attention import (
    choose_trained_attention,
    kernel_fault,
    one_kernel,
)

CONFIG = BertConfig(hidden_size=52, num_attention_heads=2)
LENGTHS = np.array([70, 9, 9, 4, 1])
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def plain_kernel(
    query, key, value, bias, ends_q, ends_k, max_q, max_k, *, dropout_p, scale, **options
):
    """Attend ad by ad with dropout of the weights; refuse what the kernel refuses."""
    assert (options, bias) == ({"custom_mask_type": 0, "compute_log_sumexp": True}, None)
    assert query.shape[3] % 8 == 0
    assert ends_q.dtype == ends_k.dtype == torch.int32
    assert (int(ends_q.diff().max()), int(ends_k.diff().max())) == (max_q, max_k)
    found = []
    for ad in range(len(ends_q) - 1):
        q = query[0, ends_q[ad] : ends_q[ad + 1]].float()
        k, v = (rows[0, ends_k[ad] : ends_k[ad + 1]].float() for rows in (key, value))
        weights = (torch.einsum("qad,kad->aqk", q, k) * scale).softmax(2)
        weights = torch.nn.functional.dropout(weights, dropout_p)
        found.append(torch.einsum("aqk,kad->qad", weights, v))
    return torch.cat(found).to(query.dtype)[None], torch.empty(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def where(request, monkeypatch) -> torch.device:
    if request.param == "cpu":
        monkeypatch.setattr(attention, "efficient_attention", plain_kernel)
    return torch.device(request.param)


def _gradients(make, where: torch.device, *, cls_alone: bool) -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(2)
    rows = torch.randn(4, int(LENGTHS.sum()), 2, 26, generator=noise).to(where)
    lengths_N = torch.from_numpy(LENGTHS).to(where)
    starts_N = lengths_N.cumsum(0) - lengths_N
    query, key, value, weights = rows
    if cls_alone:
        query, weights = query[starts_N], weights[starts_N]
    inputs = [rows.detach().clone().requires_grad_() for rows in (query, key, value)]
    context = make(LENGTHS, lengths_N, 0.0)(*inputs, cls_alone=cls_alone)
    (context * weights).sum().backward()
    return [context.detach(), *(rows.grad for rows in inputs)]


@pytest.mark.parametrize("cls_alone", [False, True])
def test_one_kernel_has_context_and_gradients_of_attention_by_length(where, cls_alone):
    found = _gradients(one_kernel, where, cls_alone=cls_alone)
    expected = _gradients(ByLength, where, cls_alone=cls_alone)
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-3)


def test_one_kernel_drops_the_share_of_weights_that_is_asked_for(where):
    """With values of one, and many keys, the context is about one, whatever the dropout; its spread
    over queries is that of a mean of so many weights."""
    num_keys, dropout_p = 4000, 0.25
    lengths = np.array([num_keys])
    ones = torch.ones(num_keys, 2, 8, device=where)
    queries = torch.zeros_like(ones)
    torch.manual_seed(0)
    lengths_N = torch.from_numpy(lengths).to(where)
    inputs = [rows.requires_grad_() for rows in (queries, ones.clone(), ones)]
    context = one_kernel(lengths, lengths_N, dropout_p)(*inputs, cls_alone=False)
    means = context.detach()[:, :, 0].flatten()
    expected = np.sqrt(dropout_p / (1 - dropout_p) / num_keys)
    assert float(means.mean()) == pytest.approx(1, abs=0.002)
    assert float(means.std()) == pytest.approx(expected, rel=0.1)


def test_choice_on_cpu_is_attention_by_length():
    device = Device(torch.device("cpu"), "bf16")
    assert choose_trained_attention(device, CONFIG) is ByLength


def test_kernel_that_gives_the_numbers_has_no_fault(where):
    assert kernel_fault(Device(where, "fp32"), CONFIG) is None


@pytest.mark.parametrize(
    ("fault", "chosen"), [(None, one_kernel), ("drops nothing out", None)]
)
def test_choice_on_a_gpu_goes_by_the_trial(monkeypatch, caplog, fault, chosen):
    monkeypatch.setattr(trained_attention, "kernel_fault", lambda *_: fault)
    with caplog.at_level(logging.WARNING, "rubert_ood"):
        found = choose_trained_attention(Device(torch.device("cuda"), "bf16"), CONFIG)
    assert found is chosen
    said = "attention without padding drops nothing out on this GPU, so ads are padded"
    assert len(caplog.messages) == (fault is not None)
    assert all(said in message for message in caplog.messages)


def _refuses(*_, **__):
    raise RuntimeError("head_size must be a multiple of 8")


def _is_off(*rows, **options):
    context, _ = plain_kernel(*rows, **options)
    return context * 1.01, None


def _is_nan(*rows, **options):
    context, _ = plain_kernel(*rows, **options)
    return context * torch.nan, None


def _has_no_gradient(*rows, **options):
    return plain_kernel(*rows, **options)[0].detach(), None


def _has_a_wrong_gradient(query, key, *rows, **options):
    return plain_kernel(query, key.detach() + 0 * key, *rows, **options)


def _keeps_all(*rows, dropout_p, **options):
    return plain_kernel(*rows, dropout_p=0.0, **options)


@pytest.mark.parametrize(
    ("kernel", "fault"),
    [
        (_refuses, "does not run (head_size must be a multiple of 8)"),
        (_is_off, "differs by 0.01 of its numbers"),
        (_is_nan, "differs by nan of its numbers"),
        (_has_no_gradient, "does not run (element 0 of tensors does not require grad"),
        (_has_a_wrong_gradient, "differs by "),
        (_keeps_all, "drops nothing out"),
    ],
)
def test_kernel_that_fails_its_trial_is_told(monkeypatch, kernel, fault):
    monkeypatch.setattr(attention, "efficient_attention", kernel)
    found = kernel_fault(Device(torch.device("cpu"), "fp32"), CONFIG)
    assert found is not None
    assert found.startswith(fault)
