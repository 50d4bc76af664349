"""Grad-CAM against its closed form, and localisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import armed
from armed.errors import DataError, LayerNotFoundError
from armed.layers.random_effects import RandomIntercept, RandomSlopes
from armed.models import MixedEffects
from armed.saliency import chance, grad_cam, localisation

SIZE = (9, 7)
N_CLUSTERS = 3
WEIGHTS = (1.0, -2.0, 0.5)  # of the pooled channels
EFFECTS = (RandomSlopes(on="hidden.3", init_scale=1.0), RandomIntercept())


class Pooled(nn.Module):
    """Convolution, global mean, and a linear output without bias: d logit / d A_c is weight_c / (h w) at every position."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=stride), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.dropped = nn.Dropout(0.5)
        self.output = nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            self.output.weight.copy_(torch.tensor([WEIGHTS]))

    def forward(self, X):
        return self.output(self.dropped(self.hidden(X)))


@pytest.fixture
def images():
    return torch.randn(5, 1, *SIZE, generator=torch.Generator().manual_seed(1))


def wrapped(stride: int = 1, effects=EFFECTS) -> MixedEffects:
    torch.manual_seed(0)
    return MixedEffects(Pooled(stride), N_CLUSTERS, effects, input_shape=(1, *SIZE))


def by_hand(model: MixedEffects, X, weights, signed: bool = False) -> np.ndarray:
    """From activations and the weights (n, 3) of the pooled channels."""
    with torch.no_grad():
        A = model.net.hidden[:2](X)
        small = (A * weights[..., None, None]).sum(1, keepdim=True) / A[0, 0].numel()
        big = F.interpolate(small if signed else small.relu(), SIZE, mode="bilinear", align_corners=False)[:, 0]
        return (big / big.abs().sum((1, 2), keepdim=True).clamp(min=1e-30)).numpy()


class TestGradCAM:
    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("signed", [False, True])
    def test_fixed_effects_in_closed_form(self, images, stride, signed):
        model = wrapped(stride)
        found = grad_cam(model, images, None, "hidden.1", "fixed", signed=signed)
        assert found.shape == (5, *SIZE) and found.dtype == np.float32
        weights = torch.tensor(WEIGHTS).expand(5, 3)
        np.testing.assert_allclose(found, by_hand(model, images, weights, signed), rtol=1e-4, atol=1e-7)
        assert signed == bool((found < 0).any())

    def test_mixed_effects_in_closed_form_for_ids_and_z(self, images):
        model = wrapped()
        slopes = model.effects[0].loc.detach()[..., 0]  # (q, 3)
        ids = torch.tensor([0, 1, 2, -1, 1])
        own = torch.where(ids[:, None] >= 0, slopes[ids], 0.0)
        expected = by_hand(model, images, torch.tensor(WEIGHTS) + own)
        np.testing.assert_allclose(grad_cam(model, images, ids, "hidden.1"), expected, rtol=1e-4, atol=1e-7)
        Z = np.full((5, N_CLUSTERS), 0.25, np.float32)
        expected = by_hand(model, images, torch.tensor(WEIGHTS) + 0.25 * slopes.sum(0).expand(5, 3))
        np.testing.assert_allclose(grad_cam(model, images.numpy(), Z, "hidden.1"), expected, rtol=1e-4, atol=1e-7)

    def test_slopes_on_the_layer_itself_count(self, images):
        """The wrapper's hook on that layer hands on the output that the gradient is taken of."""
        model = wrapped(effects=[RandomSlopes(on="hidden.1", init_scale=1.0)])
        n_positions = (SIZE[0] - 2) * (SIZE[1] - 2)
        slopes = model.effects[0].loc.detach()[1, :, 0].view(3, n_positions).sum(1)
        expected = by_hand(model, images, torch.tensor(WEIGHTS).expand(5, 3) + slopes, signed=True)
        found = grad_cam(model, images, torch.ones(5, dtype=torch.long), "hidden.1", signed=True)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)

    def test_not_pooled_each_position_has_its_own_gradient(self, images):
        model = wrapped(effects=[RandomSlopes(on="hidden.1", init_scale=1.0)])
        height, width = SIZE[0] - 2, SIZE[1] - 2
        slopes = model.effects[0].loc.detach()[1, :, 0].view(3, height, width)
        with torch.no_grad():
            A = model.net.hidden[:2](images)
            weights = torch.tensor(WEIGHTS)[:, None, None] / (height * width) + slopes
            big = F.interpolate((A * weights).sum(1, keepdim=True).relu(), SIZE, mode="bilinear")[:, 0]
        expected = (big / big.sum((1, 2), keepdim=True)).numpy()
        found = grad_cam(model, images, torch.ones(5, dtype=torch.long), "hidden.1", pooled=False)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)

    def test_mixed_is_fixed_for_the_population_and_with_an_intercept_alone(self, images):
        model = wrapped()
        fixed = grad_cam(model, images, [0, 1, 2, 0, 1], "hidden.1", "fixed")
        assert np.array_equal(grad_cam(model, images, None, "hidden.1"), fixed)
        assert np.array_equal(grad_cam(model, images, torch.zeros(5, N_CLUSTERS), "hidden.1"), fixed)
        assert not np.allclose(grad_cam(model, images, [0, 1, 2, 0, 1], "hidden.1"), fixed)
        intercepts = wrapped(effects=[RandomIntercept(init_scale=1.0)])
        assert np.array_equal(grad_cam(intercepts, images, [0, 1, 2, 0, 1], "hidden.1"), fixed)

    def test_maps_sum_to_one_or_stay_zero(self, images):
        model = wrapped()
        assert grad_cam(model, images, None, "hidden.1").sum((1, 2)) == pytest.approx(np.ones(5))
        signed = grad_cam(model, images, None, "hidden.1", signed=True)
        assert np.abs(signed).sum((1, 2)) == pytest.approx(np.ones(5))
        with torch.no_grad():
            model.net.output.weight.fill_(-1.0)
        assert np.array_equal(grad_cam(model, images, None, "hidden.1"), np.zeros((5, *SIZE), np.float32))
        assert (grad_cam(model, images, None, "hidden.1", target=0).sum((1, 2)) > 0).all()

    def test_the_other_class_turns_the_sign(self, images):
        model = wrapped()
        one, zero = (grad_cam(model, images, None, "hidden.1", target=t, signed=True) for t in (1, 0))
        assert np.array_equal(one, -zero)

    def test_of_several_classes_the_target_is_a_column(self, images):
        model = wrapped()
        model.net.output = nn.Linear(3, 4, bias=False)
        model.random_effects, model.effects = (), nn.ModuleList()
        expected = by_hand(model, images, model.net.output.weight[2].detach().expand(5, 3), signed=True)
        found = grad_cam(model, images, None, "hidden.1", target=2, signed=True)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
        with pytest.raises(DataError, match="target is 4; expected a class from 0 to 3"):
            grad_cam(model, images, None, "hidden.1", target=4)

    def test_pieces_of_rows_do_not_matter(self, images):
        model, ids = wrapped(), [0, 1, 2, -1, 0]
        whole = grad_cam(model, images, ids, "hidden.1")
        np.testing.assert_allclose(grad_cam(model, images, ids, "hidden.1", rows_at_once=2), whole, rtol=1e-5)
        assert grad_cam(model, images[:0], [], "hidden.1").shape == (0, *SIZE)

    def test_a_layer_called_twice_counts_where_it_reaches_the_output(self, images):
        """As in networks that make both predictions in two passes."""

        class Twice(nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def forward(self, X, clusters, adversary=True):
                mixed, fixed = self.net(X + 0.1 * clusters[:, None, None, None]), self.net(X)
                return armed.models.mixed_effects.MixedOutput(fixed, mixed - fixed, mixed, None, None, None)

        model = Twice(Pooled())
        ids = torch.arange(5)
        shifted = images + 0.1 * ids[:, None, None, None]
        weights = torch.tensor(WEIGHTS).expand(5, 3)
        for output, X in (("fixed", images), ("mixed", shifted)):
            found = grad_cam(model, images, ids, "hidden.1", output)
            np.testing.assert_allclose(found, by_hand(model, X, weights), rtol=1e-4, atol=1e-7)

    def test_a_block_is_looked_at_where_a_network_goes_through_it_layer_by_layer(self, images):
        class Blocks(Pooled):
            def __init__(self, whole: bool) -> None:
                super().__init__()
                self.hidden = nn.Sequential(self.hidden[:2], *self.hidden[2:])
                self.whole = whole

            def forward(self, X):
                block, *rest = self.hidden
                h = block(X) if self.whole else block[1](block[0](X))
                for layer in rest:
                    h = layer(h)
                return self.output(h)

        found = []
        for whole in (True, False):
            torch.manual_seed(0)
            model = MixedEffects(Blocks(whole), N_CLUSTERS, [RandomIntercept()], input_shape=(1, *SIZE))
            found.append(grad_cam(model, images, None, "hidden.0"))
        assert np.array_equal(*found) and np.array_equal(found[0], grad_cam(wrapped(), images, None, "hidden.1"))

    @pytest.mark.parametrize("mode", [True, False])
    def test_leaves_the_module_as_it_was(self, images, mode):
        model = wrapped().train(mode)
        model.net.hidden[0].eval()  # a frozen layer
        for p in model.parameters():
            p.grad = torch.full_like(p, 3.0)
        model.net.output.weight.requires_grad_(False)
        modes = [m.training for m in model.modules()]
        hooks = [len(m._forward_hooks) for m in model.modules()]
        state = {name: t.clone() for name, t in model.state_dict().items()}
        grad_cam(model, images, [0, 1, 2, 0, 1], "hidden.1")
        with pytest.raises(DataError):
            grad_cam(model, images, [0, 1, 2, 0, 9], "hidden.1")
        assert [m.training for m in model.modules()] == modes
        drops = not torch.equal(model(images).fixed, model(images).fixed)
        assert drops == mode  # dropout goes on where it was on
        assert [len(m._forward_hooks) for m in model.modules()] == hooks
        assert all((p.grad == 3.0).all() for p in model.parameters())
        assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())

    def test_dropout_is_off(self, images):
        model = wrapped().train()
        assert np.array_equal(
            grad_cam(model, images, None, "hidden.1"), grad_cam(model.eval(), images, None, "hidden.1")
        )

    def test_wrong_layers_are_named(self, images):
        model = wrapped()
        with pytest.raises(LayerNotFoundError, match=r"no layer 'hiden.1'.*Did you mean 'hidden.1'"):
            grad_cam(model, images, None, "hiden.1")
        with pytest.raises(LayerNotFoundError, match=r"'hidden.3' gives no map: it returns a tensor of shape \(5, 3\)"):
            grad_cam(model, images, None, "hidden.3")
        model.net.spare = nn.Conv2d(1, 1, 1)
        with pytest.raises(LayerNotFoundError, match="is never called"):
            grad_cam(model, images, None, "spare")

    def test_wrong_images_and_outputs_are_told_together(self, images):
        with pytest.raises(DataError, match=r"torch.uint8; expected floats") as error:
            grad_cam(wrapped(), (255 * images).byte(), None, "hidden.1", "mixd")
        assert "Did you mean 'mixed'" in str(error.value)


class TestLocalisation:
    def region(self):
        region = np.zeros((1, 4, 4), bool)
        region[0, :2, :2] = True
        return region

    def test_all_inside_all_outside_and_a_share(self):
        maps = np.zeros((3, 4, 4), np.float32)
        maps[0, 0, 1] = 0.3
        maps[1, 3, 3] = 2.0
        maps[2] = 1.0
        assert localisation(maps, np.repeat(self.region(), 3, 0)).tolist() == [1.0, 0.0, 0.25]

    def test_undefined_for_an_empty_map_or_region(self):
        maps = np.stack([np.zeros((4, 4)), np.ones((4, 4)), np.full((4, 4), np.nan)])
        regions = np.concatenate([self.region(), np.zeros((1, 4, 4), bool), self.region()])
        assert np.isnan(localisation(maps, regions)).all()

    def test_chance_is_what_an_even_map_over_the_brain_scores(self):
        image = np.zeros((2, 4, 4), np.uint8)
        image[0, :, :2] = 7  # a brain of 8 pixels, half of it the region
        regions = np.repeat(self.region(), 2, 0)
        found = chance(image, regions)
        assert found[0] == 0.5 and np.isnan(found[1])
        assert localisation((image[:1] != 0).astype(float), regions[:1])[0] == found[0]

    def test_refuses_shapes_that_differ_and_signed_maps(self):
        with pytest.raises(DataError, match=r"\(3, 4, 4\) and regions \(1, 4, 4\)"):
            localisation(np.ones((3, 4, 4)), self.region())
        with pytest.raises(DataError, match=r"signed=False"):
            localisation(-np.ones((1, 4, 4)), self.region())
