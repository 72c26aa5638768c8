import pytest
import torch

from hyseg_models.attention import SelfAttention2d
from hyseg_models.config import AttentionConfig, HeadConfig
from hyseg_models.das import DAS
from hyseg_models.pyramid import Guide, PriorPyramid


def guide(classes=4, size=(8, 10), batch=2):
    prior = torch.rand(batch, classes, *size).softmax(dim=1)
    return Guide(prior, torch.ones(batch, 1, *size, dtype=torch.bool))


def test_it_starts_as_the_identity():
    features = torch.randn(2, 64, 8, 10)
    block = DAS(HeadConfig()).eval()
    torch.testing.assert_close(block(features, guide()), features)


def test_gradients_reach_every_parameter():
    block = DAS(HeadConfig(zero_init=False, drop_path=0.0))
    block(torch.randn(2, 64, 8, 10), guide()).square().sum().backward()
    without = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_empty_cells_do_not_reach_others():
    block = DAS(HeadConfig(zero_init=False)).eval()
    hint = guide(batch=1)
    hint.valid[..., 2, 3] = False
    features = torch.randn(1, 64, 8, 10)
    poisoned = features.clone()
    poisoned[..., 2, 3] = 100.0
    with torch.no_grad():
        difference = (block(features, hint) - block(poisoned, hint)).abs().amax(dim=(0, 1))
    # The positional convolution of the attention sees its 3 x 3 neighbourhood.
    difference[1:4, 2:5] = 0.0
    assert difference.max() < 1e-3


@pytest.mark.parametrize("kind", ["full", "pooled", "auto"])
def test_attention_keeps_the_shape(kind):
    config = AttentionConfig(kind=kind, max_full=50, kv=16)
    attention = SelfAttention2d(64, config, zero_init=False)
    features = torch.randn(2, 64, 9, 11)
    valid = torch.ones(2, 1, 9, 11, dtype=torch.bool)
    assert attention(features, valid).shape == features.shape


def test_pooling_starts_where_full_attention_becomes_dear():
    attention = SelfAttention2d(64, AttentionConfig(max_full=4096, kv=1024), zero_init=False)
    assert attention._pool_factor(64, 64) == 1
    assert attention._pool_factor(128, 128) == 4


def test_attention_over_nothing_is_finite():
    attention = SelfAttention2d(64, AttentionConfig(), zero_init=False)
    out = attention(torch.randn(1, 64, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    assert out.isfinite().all()


def test_the_pyramid_starts_as_the_pooled_prior():
    pyramid = PriorPyramid(4, 4, (32, 64, 128), skip=True).eval()
    prior = torch.rand(2, 4, 16, 24).softmax(dim=1)
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    guides = pyramid(prior, valid)
    for stride in (8, 16, 32):
        pooled = torch.nn.functional.avg_pool2d(prior, stride // 4)
        torch.testing.assert_close(guides[stride].prior, pooled, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("skip", [True, False])
def test_each_level_is_a_class_map_of_its_size(stride, skip):
    pyramid = PriorPyramid(5, stride, (8, 16, 24), skip=skip)
    guides = pyramid(
        torch.rand(2, 5, 64 // stride, 96 // stride).softmax(dim=1),
        torch.ones(2, 1, 64, 96, dtype=torch.bool),
    )
    for level, hint in guides.items():
        assert hint.prior.shape == (2, 5, 64 // level, 96 // level)
        assert hint.valid.shape == (2, 1, 64 // level, 96 // level)
        torch.testing.assert_close(hint.prior.sum(dim=1), torch.ones_like(hint.prior[:, 0]))


def test_a_cell_with_less_than_a_quarter_of_data_is_empty():
    valid = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    valid[..., :8, :7] = True
    valid[..., :4, 8:14] = True
    pyramid = PriorPyramid(2, 4, (8, 8, 8), skip=True).eval()
    found = pyramid(torch.full((1, 2, 8, 8), 0.5), valid)[8].valid[0, 0]
    assert found[0, 0]
    assert found[0, 1]
    assert found.sum() == 2
