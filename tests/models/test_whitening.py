import torch
from torch import nn
from torch.nn import functional as F

from snugnet.models.whitening import whiten


def whitened(filters=24):
    torch.manual_seed(0)
    images = F.avg_pool2d(torch.randn(200, 3, 12, 12), 3, 1)  # neighbours are alike, as in photographs
    conv = nn.Conv2d(3, filters, 2)
    conv.weight.requires_grad_(False)
    whiten(conv, images)
    return conv, images


def test_patches_come_out_uncorrelated_and_of_equal_variance():
    conv, images = whitened()
    with torch.no_grad():
        outputs = conv(images).transpose(0, 1).flatten(1)[:12]
    covariance = outputs @ outputs.T / outputs.shape[1]
    off = covariance - covariance.diag().diag()
    assert off.abs().max() < 0.01
    assert (covariance.diag() - 1).abs().max() < 0.1  # EPSILON takes a little from the weakest


def test_each_filter_stands_with_its_negative_and_the_bias_is_zero():
    conv, _ = whitened()
    assert torch.equal(conv.weight[:12], -conv.weight[12:])
    assert not conv.bias.any()


def test_fewer_filters_are_the_strongest_components():
    few, _ = whitened(8)
    all_of_them, _ = whitened(24)
    assert torch.equal(few.weight[:4], all_of_them.weight[:4])
    norms = all_of_them.weight[:12].flatten(1).norm(dim=1)  # one over the root of the eigenvalue
    assert (norms.diff() >= 0).all()
