import torch
from conftest import tiny_config

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.training.prior_diagnostics import PriorDiagnostics, diagnose_prior
from hyseg_models import build

STANDARDISE = Standardise(Radiometry((0.0,) * 3, (1.0,) * 3))


def batch(size=2):
    labels = torch.randint(0, 5, (size, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return {
        "image": labels.unsqueeze(1).expand(-1, 3, -1, -1).float(),
        "valid": torch.ones(size, 1, 64, 64, dtype=torch.bool),
        "labels": labels,
        "origin": torch.zeros(size, 2, dtype=torch.int64),
    }


class Knowing(torch.nn.Module):
    """A prior network that reads the label from the condition and nothing from the noise."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, x, _r, _t, condition):
        label = condition.fused[:, :1].round().long().clamp(0, 4)
        one_hot = torch.nn.functional.one_hot(label[:, 0], 5).permute(0, 3, 1, 2).float()
        return self.labels.embed(one_hot)


def knowing_network():
    network = build(tiny_config()).eval()
    prior = network.prior

    class Pass(torch.nn.Module):
        def forward(self, image, valid, _pyramid):
            from hyseg_models.prior.condition import Condition

            pooled = torch.nn.functional.avg_pool2d(image[:, :1], 4)
            return Condition(pooled, torch.nn.functional.avg_pool2d(valid.float(), 4), {})

    prior.condition = Pass()
    prior.net = Knowing(prior.labels)
    return network


def test_a_prior_that_knows_everything_scores_full_marks():
    found = diagnose_prior(knowing_network(), STANDARDISE, [batch(), batch()])
    assert found.miou_one_step == found.miou_mean == found.miou_eight_steps == 1.0
    assert found.spread < 1e-6
    assert found.miou_wrong_image < 0.5
    assert found.warnings() == []


def test_an_untrained_prior_is_warned_of():
    found = diagnose_prior(build(tiny_config()).eval(), STANDARDISE, [batch()])
    assert any("hardly looks at the image" in line for line in found.warnings())


def test_an_average_velocity_that_is_not_learned_is_warned_of():
    found = PriorDiagnostics(0.3, 0.6, 0.6, 0.1, 0.1, 0.1)
    assert any("`prior_steps`" in line for line in found.warnings())


def test_the_variance_over_the_noise_is_in_units_of_hard_labels():
    network = knowing_network()

    class Noisy(torch.nn.Module):
        def forward(self, x, r, _t, _condition):
            # At (0, 1) the noise itself, at labels' scale; at (1, 1) a tenth of it.
            return network.config.prior.beta * x * torch.where(r > 0, 0.1, 1.0).view(-1, 1, 1, 1)

    network.prior.net = Noisy()
    found = diagnose_prior(network, STANDARDISE, [batch(4)])
    assert abs(found.noise_variance - 1.0) < 0.05
    assert abs(found.noise_variance_of_mean - 0.01) < 0.001
    assert not any("true mean" in line for line in found.warnings())


def test_a_mean_that_depends_on_the_noise_is_warned_of():
    found = PriorDiagnostics(
        0.5, 0.5, 0.5, 0.1, 0.1, 0.1, noise_variance=0.0945, noise_variance_of_mean=0.0940
    )
    assert any("true mean" in line for line in found.warnings())


def test_the_mean_of_many_draws_is_better_than_one_of_them():
    network = knowing_network()
    sure = network.prior.net

    class Shaky(torch.nn.Module):
        def forward(self, x, r, t, condition):
            return sure(x, r, t, condition) + 0.4 * x

    network.prior.net = Shaky()
    found = diagnose_prior(network, STANDARDISE, [batch()])
    assert found.miou_one_step < 0.8
    assert found.miou_mean_of_draws > found.miou_one_step + 0.1
