from dataclasses import replace

import pytest
import torch

from hyseg_models.blocks.attention import SelfAttention2d
from hyseg_models.config.config import AttentionConfig, HeadConfig, P2AConfig, PyramidConfig
from hyseg_models.config.records import ConfigError
from hyseg_models.das.das import DAS
from hyseg_models.das.pyramid import Guide, PriorPyramid


def guide(classes=4, size=(8, 10), batch=2):
    prior = torch.rand(batch, classes, *size).softmax(dim=1)
    return Guide(prior, torch.ones(batch, 1, *size, dtype=torch.bool))


def test_it_starts_as_the_identity():
    features = torch.randn(2, 64, 8, 10)
    block = DAS(HeadConfig(), 4).eval()
    torch.testing.assert_close(block(features, guide()), features)


def test_gradients_reach_every_parameter():
    block = DAS(HeadConfig(zero_init=False, drop_path=0.0), 4)
    block(torch.randn(2, 64, 8, 10), guide()).square().sum().backward()
    without = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_empty_cells_do_not_reach_others():
    block = DAS(HeadConfig(zero_init=False), 4).eval()
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


@pytest.mark.parametrize("kind", ["full", "pooled", "auto", "window"])
def test_attention_keeps_the_shape(kind):
    config = AttentionConfig(kind=kind, max_full=50, kv=16, window=4)
    attention = SelfAttention2d(64, config, zero_init=False)
    features = torch.randn(2, 64, 9, 11)
    valid = torch.ones(2, 1, 9, 11, dtype=torch.bool)
    assert attention(features, valid).shape == features.shape


def test_pooling_starts_where_full_attention_becomes_dear():
    attention = SelfAttention2d(64, AttentionConfig(max_full=4096, kv=1024), zero_init=False)
    assert attention._pool_factor(64 * 64) == 1
    assert attention._pool_factor(128 * 128) == 4


def test_attention_over_nothing_is_finite():
    attention = SelfAttention2d(64, AttentionConfig(), zero_init=False)
    out = attention(torch.randn(1, 64, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    assert out.isfinite().all()


def test_the_pyramid_starts_as_the_pooled_prior():
    pyramid = PriorPyramid(4, 4, 4, PyramidConfig()).eval()
    prior = torch.rand(2, 4, 16, 24).softmax(dim=1)
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    guides = pyramid(prior, valid)
    for stride in (8, 16, 32):
        pooled = torch.nn.functional.avg_pool2d(prior, stride // 4)
        torch.testing.assert_close(guides[stride].prior, pooled, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("skip", [True, False])
def test_each_level_is_a_class_map_of_its_size(stride, skip):
    pyramid = PriorPyramid(5, 5, stride, PyramidConfig(channels=(8, 16, 24), skip=skip))
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
    pyramid = PriorPyramid(2, 2, 4, PyramidConfig(channels=(8, 8, 8))).eval()
    found = pyramid(torch.full((1, 2, 8, 8), 0.5), valid)[8].valid[0, 0]
    assert found[0, 0]
    assert found[0, 1]
    assert found.sum() == 2


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (HeadConfig(message="identity", prior="none"), "itself"),
        (HeadConfig(message="descriptor"), "affinity as description"),
        (HeadConfig(message="prior"), "prior"),
        (HeadConfig(message="concat"), "prior beside features"),
        (HeadConfig(message="affinity_prior"), "prior in the messages"),
        (HeadConfig(message="add"), "prior, linear"),
        (HeadConfig(p2a=P2AConfig(source="feature", distance="mean"), prior="none"), "features"),
        (HeadConfig(p2a=P2AConfig(source="uniform"), prior="none"), "box"),
        (HeadConfig(p2a=P2AConfig(dilations=(1, 3), kernel=3)), "two rings"),
        (HeadConfig(p2a=P2AConfig(groups=2)), "two affinities"),
        (HeadConfig(p2a=P2AConfig(steps=2)), "two steps"),
        (HeadConfig(p2a=P2AConfig(gate=True)), "gate"),
        (HeadConfig(fuse="conv"), "one convolution"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_message_starts_silent_and_can_learn(head, why):
    features = torch.randn(2, 64, 8, 10)
    torch.testing.assert_close(DAS(head, 4).eval()(features, guide()), features)
    block = DAS(replace(head, zero_init=False, drop_path=0.0), 4)
    block(features, guide()).square().sum().backward()
    without = {name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()}
    if head.p2a.source == "uniform":
        # equal weights have no bandwidth
        without -= {"message.affinity.p2a.bandwidth.raw"}
    assert without == set()


def test_two_steps_are_the_affinity_applied_twice():
    head = HeadConfig(zero_init=False, p2a=P2AConfig(steps=1))
    once, hint = DAS(head, 4).eval().message, guide()
    twice = DAS(replace(head, p2a=P2AConfig(steps=2)), 4).eval().message
    twice.load_state_dict(once.state_dict())
    once.phi_feat = twice.phi_feat = once.norm = twice.norm = torch.nn.Identity()
    features = torch.randn(2, 64, 8, 10)
    torch.testing.assert_close(twice(features, hint), once(once(features, hint), hint))


def test_a_message_that_tells_the_prior_brings_that_of_the_neighbours():
    """Cells that hear only the prior hear what simple arithmetic of neighbours gives."""
    message = DAS(HeadConfig(message="affinity_prior", p2a=P2AConfig(kernel=3)), 4).eval().message
    hint, features = guide(batch=1), torch.randn(1, 64, 8, 10)
    with torch.no_grad():
        message.phi_feat.weight.zero_()
        message.phi_feat.bias.zero_()
        for channel in range(4):
            message.phi_feat.weight[channel, 64 + channel] = 1.0
        found = message(features, hint)[0, :4, 4, 5]
        affinity = message.affinity(features, hint)[0, :, 4, 5].reshape(3, 3)
    expected = torch.einsum("kl,ckl->c", affinity, hint.prior[0, :, 3:6, 4:7])
    torch.testing.assert_close(found, expected)


def test_two_rings_share_one_row_and_have_one_middle():
    from hyseg_models.das.p2a import P2A

    affinity = P2A(P2AConfig(kernel=3, dilations=(1, 2)))(
        torch.rand(1, 4, 9, 9), torch.ones(1, 1, 9, 9, dtype=torch.bool)
    )
    assert affinity.shape[1] == 18
    torch.testing.assert_close(affinity.sum(dim=1), torch.ones(1, 9, 9))
    assert (affinity[:, 13] == 0).all()


def test_groups_have_their_own_affinity():
    head = HeadConfig(p2a=P2AConfig(groups=2, kernel=3), zero_init=False)
    message = DAS(head, 4).eval().message
    message.phi_feat = message.norm = torch.nn.Identity()
    hint = guide()
    halves = [Guide(hint.prior[:, part], hint.valid) for part in (slice(2), slice(2, 4))]
    features = torch.randn(2, 64, 8, 10)
    single = DAS(replace(head, p2a=P2AConfig(kernel=3)), 4).eval().message
    single.phi_feat = single.norm = torch.nn.Identity()
    expected = torch.cat(
        [
            single(features, half)[:, channels]
            for half, channels in zip(halves, (slice(32), slice(32, 64)), strict=True)
        ],
        dim=1,
    )
    torch.testing.assert_close(message(features, hint), expected)


def test_an_unsure_prior_leaves_the_features_to_themselves():
    head = HeadConfig(p2a=P2AConfig(gate=True))
    message = DAS(head, 4).eval().message
    message.phi_feat = message.norm = torch.nn.Identity()
    features = torch.randn(2, 64, 8, 10)
    hint = guide()
    unsure = Guide(torch.full_like(hint.prior, 0.25), hint.valid)
    torch.testing.assert_close(message(features, unsure), features)


def test_a_group_count_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="groups"):
        DAS(HeadConfig(p2a=P2AConfig(groups=3)), 5)


def test_window_attention_stays_in_its_window():
    attention = SelfAttention2d(
        64, AttentionConfig(kind="window", window=4, pos="none"), zero_init=False
    )
    features = torch.randn(1, 64, 8, 8)
    valid = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    moved = features.clone()
    moved[..., :4, :4] += 1.0
    with torch.no_grad():
        change = (attention(features, valid) - attention(moved, valid)).abs().amax(dim=(0, 1))
    assert change[:4, :4].min() > 0
    change[:4, :4] = 0
    assert change.max() == 0


def test_raw_pyramids_are_normalised_features():
    pyramid = PriorPyramid(4, 4, 4, PyramidConfig(out="raw", raw_channels=8)).eval()
    guides = pyramid(
        torch.rand(1, 4, 16, 16).softmax(dim=1), torch.ones(1, 1, 64, 64, dtype=torch.bool)
    )
    assert guides[8].prior.shape == (1, 8, 8, 8)
    assert guides[8].prior.mean(dim=1).abs().max() < 1e-5
