import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from snugnet import checkpoint
from snugnet.models.resnet import build
from snugnet.train import optim
from snugnet.train.muon import Muon, newton_schulz
from snugnet.train.optim import OptimizerConfig
from snugnet.train.update import Lookahead, LookaheadConfig, Plain, Sam, SamConfig
from specs import spec


def net(**options):
    torch.manual_seed(0)
    found = spec(["basic", 1, 4], ["basic", 1, 8], image_size=8, **options)
    return build(found).to(memory_format=torch.channels_last)


def learn(model, optimizer, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images = torch.randn(8, 3, 8, 8, generator=random).to(memory_format=torch.channels_last)

        def gradients(images=images):
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(images), torch.arange(8))
            loss.backward()
            return loss.detach()

        optimizer.step(gradients)


KEYS = {"momentum", "nesterov", "betas", "eps", "rho", "alpha"}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adadelta", "rmsprop"])
def test_what_a_rule_does_not_read_is_what_torch_does_not_know(name):
    config = OptimizerConfig(name=name)
    known = optim._torch(name, optim.groups(net(), config), config).defaults
    reads = KEYS & known.keys() - ({"nesterov"} if name == "rmsprop" else set())
    assert config.unread == KEYS - reads | {"rest", "rest_lr"}


def test_muon_reads_what_its_rule_for_the_rest_reads():
    assert OptimizerConfig(name="muon").unread == {"betas", "eps", "rho", "alpha"}
    assert OptimizerConfig(name="muon", rest="adamw").unread == {"rho", "alpha"}


CONFIGS = [
    OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    OptimizerConfig(name="sgd", lr=0.1, momentum=0.0),
    OptimizerConfig(name="adamw", lr=0.01, weight_decay=1e-2, decay_all=False),
    OptimizerConfig(name="adam", lr=0.01, weight_decay=1e-2, betas=(0.8, 0.99), eps=1e-6),
    OptimizerConfig(name="adadelta", lr=0.5, weight_decay=1e-2, rho=0.8),
    OptimizerConfig(name="rmsprop", lr=0.01, alpha=0.9),
    OptimizerConfig(name="rmsprop", lr=0.01, momentum=0.5),
]
MUON = OptimizerConfig(name="muon", lr=0.02, weight_decay=1e-2)
AROUND = [
    MUON,
    OptimizerConfig(name="muon", rest="adamw", rest_lr=0.01),
    OptimizerConfig(sam=SamConfig()),
    OptimizerConfig(name="adamw", lr=0.01, sam=SamConfig(rho=0.5, adaptive=True)),
    OptimizerConfig(lookahead=LookaheadConfig(k=2)),
    MUON.model_copy(update={"sam": SamConfig(), "lookahead": LookaheadConfig(k=4)}),
]


def plain_rule(config, groups):
    """The same optimiser by torch, nothing fused, every value stated."""
    torch_s = torch.optim
    moments = {"lr": config.lr, "betas": config.betas, "eps": config.eps}
    return {
        "adamw": lambda: torch_s.AdamW(groups, **moments),
        "adam": lambda: torch_s.Adam(groups, **moments),
        "adadelta": lambda: torch_s.Adadelta(groups, lr=config.lr, rho=config.rho, eps=1e-6),
        "rmsprop": lambda: torch_s.RMSprop(groups, lr=config.lr, alpha=config.alpha, momentum=config.momentum),
        "sgd": lambda: torch_s.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov),
    }[config.name]()


@pytest.mark.parametrize("config", CONFIGS)
def test_torch_s_plain_optimiser_goes_the_same_way(config):
    model, other = net(), net()
    learn(model, optim.build(model, config), 3)
    learn(other, Plain(plain_rule(config, optim.groups(other, config))), 3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def kept(value, shapes):
    """The tensors of a weight's size in a state."""
    if isinstance(value, torch.Tensor):
        return [value] if value.shape in shapes else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in kept(part, shapes)]


@pytest.mark.parametrize("config", CONFIGS + AROUND, ids=str)
def test_state_from_a_file_goes_on_bitwise_in_the_layout_of_the_weights(config, tmp_path):
    model = net()
    update = optim.build(model, config)
    learn(model, update, 3)
    checkpoint.write(tmp_path / "state", update.state())
    again = copy.deepcopy(model)
    loaded = optim.build(again, config)
    loaded.load(checkpoint.read(tmp_path / "state"))
    moments = kept(loaded.state(), {parameter.shape for parameter in again.parameters()})
    strides = {parameter.shape: parameter.stride() for parameter in again.parameters()}
    assert all(value.stride() == strides[value.shape] for value in moments)
    if config.name != "muon" and config.sam is None:
        assert len(moments) == config.state_tensors * len(list(again.parameters()))
    assert any(not parameter.is_contiguous() for parameter in again.parameters())
    learn(model, update, 3, seed=1)
    learn(again, loaded, 3, seed=1)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))


def test_weight_decay_is_on_all_or_on_weights_of_two_axes():
    model = net()
    (everything,) = optim.groups(model, OptimizerConfig(weight_decay=0.1))
    assert everything["weight_decay"] == 0.1
    assert len(everything["params"]) == len(list(model.parameters()))
    decayed, free = optim.groups(model, OptimizerConfig(weight_decay=0.1, decay_all=False))
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {named[id(p)].rsplit(".", 2)[-1] for p in decayed["params"]} == {"weight"}
    assert all("norm" in named[id(p)] or named[id(p)].endswith("bias") for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(named)


def test_frozen_filters_never_move():
    model = net(stem={"kernel": 2, "padding": 0, "channels": 4, "whiten": True})
    before = model.stem[0].weight.clone()
    bias = model.stem[0].bias.clone()
    learn(model, optim.build(model, OptimizerConfig(weight_decay=0.5)), 2)
    assert torch.equal(model.stem[0].weight, before)
    assert not torch.equal(model.stem[0].bias, bias)


def test_nesterov_needs_momentum():
    with pytest.raises(ValidationError, match=r"nesterov needs momentum above 0; got momentum = 0"):
        OptimizerConfig(momentum=0.0, nesterov=True)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("sgd", {"momentum": 0.9, "nesterov": False, "eps": 1e-8}),
        ("rmsprop", {"momentum": 0.0}),
        ("adadelta", {"eps": 1e-6}),
        ("muon", {"momentum": 0.95, "nesterov": True}),
    ],
)
def test_an_optimiser_has_its_usual_values_unless_others_are_given(name, own):
    assert {key: OptimizerConfig(name=name).plain()[key] for key in own} == own
    given = OptimizerConfig(name=name, momentum=0.5, eps=1e-3, nesterov=True)
    assert (given.momentum, given.eps, given.nesterov) == (0.5, 1e-3, True)
    assert OptimizerConfig.parse(given.plain()) == given


def test_values_of_another_optimiser_are_let_be():
    """A recipe for sgd is tried with another by one --set."""
    OptimizerConfig.parse({"name": "rmsprop", "nesterov": True, "momentum": 0.0, "rest_lr": 0.1})


# Muon


@pytest.mark.parametrize("shape", [(8, 8), (16, 5), (5, 40)])
def test_newton_schulz_gives_a_half_orthogonal_matrix_with_the_same_axes(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = newton_schulz(matrix)
    assert found.shape == shape
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ found @ v.T  # diagonal where the axes are the same
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 0.02
    assert ((inner.diagonal() > 0.5) & (inner.diagonal() < 1.3)).all()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 brought it")
def test_torch_s_muon_goes_the_same_way_but_for_its_bf16():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(12, 6)) for _ in range(2))
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    own = Muon([{"params": [ours], "weight_decay": 0.1}], **options)
    reference = torch.optim.Muon([theirs], weight_decay=0.1, **options)
    for _ in range(4):
        ours.grad = theirs.grad = torch.randn(12, 6)
        own.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)
    assert (ours - 1).abs().max() > 0.1


def test_muon_takes_a_filter_as_a_row_whatever_its_layout():
    torch.manual_seed(0)
    gradient = torch.randn(6, 4, 3, 3)
    filters = nn.Parameter(torch.zeros(6, 4, 3, 3).to(memory_format=torch.channels_last))
    rows = nn.Parameter(torch.zeros(6, 36))
    filters.grad, rows.grad = gradient.to(memory_format=torch.channels_last), gradient.flatten(1)
    Muon([{"params": [filters, rows], "weight_decay": 0.0}], lr=1.0, momentum=0.0, nesterov=False).step()
    torch.testing.assert_close(filters.flatten(1), rows)
    assert filters.stride() == filters.grad.stride()


def test_muon_moves_filters_and_another_rule_the_rest():
    model = net()
    update = optim.build(model, MUON.model_copy(update={"rest_lr": 0.5}))
    muon, rest = update.optimizers
    assert all(parameter.ndim == 4 for group in muon.param_groups for parameter in group["params"])
    assert all(parameter.ndim != 4 for group in rest.param_groups for parameter in group["params"])
    assert sum(len(group["params"]) for group in update.groups) == len(list(model.parameters()))
    assert [group["lr"] for group in update.groups] == [0.02, 0.5]


def test_linear_layers_may_have_a_rate_of_their_own():
    update = optim.build(net(), MUON.model_copy(update={"rest_lr": 0.5, "linear_lr": 0.1}))
    assert [group["lr"] for group in update.groups] == [0.02, 0.5, 0.1]
    assert [parameter.shape for parameter in update.groups[2]["params"]] == [(10, 8)]


def test_muon_moves_weights_of_a_fixed_size():
    weight = nn.Parameter(torch.randn(4, 3, 3, 3))
    weight.grad = torch.zeros_like(weight)
    group = {"params": [weight], "weight_decay": 0.0}
    before = weight.detach().clone()
    Muon([group], lr=0.1, momentum=0.0, nesterov=False, normalize=True).step()
    torch.testing.assert_close(weight.detach(), before * (2 / before.norm()))  # 4 rows of norm 1, in the mean


# SAM


def quadratic(config):
    """w = (1, -2) in the bowl of w1^2 / 2 + 2 w2^2; one step of plain descent with rate 0.1."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    update = Sam(Plain(torch.optim.SGD(model.parameters(), lr=0.1)), model, config)
    seen = []

    def gradients():
        model.zero_grad()
        seen.append(model.weight.detach().clone())
        loss = (model.weight**2 @ torch.tensor([0.5, 2.0])).sum()
        loss.backward()
        return loss.detach()

    return model.weight, update.step(gradients), seen


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_steps_by_the_gradient_from_uphill(adaptive):
    weight, loss, (home, uphill) = quadratic(SamConfig(rho=0.3, adaptive=adaptive))
    slope = torch.tensor([1.0, -8.0])  # of the bowl at home
    scale = home.abs() + 0.01 if adaptive else torch.ones(2)
    expected = home + 0.3 * scale**2 * slope / (scale * slope).norm()
    torch.testing.assert_close(uphill, expected)
    torch.testing.assert_close(weight.detach(), home - 0.1 * uphill * torch.tensor([1.0, 4.0]))
    assert loss == 8.5  # at home
    if not adaptive:
        assert (uphill - home).norm() == pytest.approx(0.3)


def test_sam_counts_running_statistics_once():
    plain, sharp = net(), net()
    learn(plain, optim.build(plain, OptimizerConfig()), 1)
    learn(sharp, optim.build(sharp, OptimizerConfig(sam=SamConfig())), 1)
    for one, two in zip(plain.buffers(), sharp.buffers(), strict=True):
        assert torch.equal(one, two)
    assert not all(torch.equal(*pair) for pair in zip(plain.parameters(), sharp.parameters(), strict=True))


# Lookahead


def test_lookahead_goes_part_of_the_way_every_k_steps():
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(1))
    inner = Plain(torch.optim.SGD(model.parameters(), lr=1.0))
    update = Lookahead(inner, model, LookaheadConfig(k=3, alpha=0.25))

    def gradients():
        model.weight.grad = torch.tensor([-1.0])
        return torch.zeros(())

    places = []
    for _ in range(6):
        update.step(gradients)
        places.append(model.weight.item())
    assert places == [1, 2, 0.75, 1.75, 2.75, 1.5]
