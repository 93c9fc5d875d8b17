"""The networks are the papers' figures, and their inference form says the same."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel
from tagcli.models import inference as inference_form
from tagcli.models.blocks import ConvBlock
from tagcli.models.config import ConvNetConfig, CrnnConfig, compact_config, crnn_config, fcn_config
from tagcli.models.forms import build_model, to_inference_form

SCORES = 1e-5
"""Of the folded form against the plain one: the same float32 sums in another order."""
EMBEDDINGS = 1e-4
"""Relative; activations are larger than scores."""
HALF = 0.02
"""Of logits in float16, with 11 bits, through a few layers of numbers about 1."""
SUBNORMAL = 1e-39

FIGURES = {
    "compact": (compact_config(), 39_282, ((48, 340), (16, 85), (8, 17), (4, 4), (1, 1)), (32, 32, 32, 32, 32)),
    "fcn": (fcn_config(), 447_730, ((48, 453), (24, 113), (12, 28), (4, 5), (1, 1)), (64, 128, 128, 128, 64)),
    "crnn": (crnn_config(), 394_098, ((48, 906), (16, 302), (4, 75), (1, 18)), (64, 128, 128, 128)),
}
SMALL = ConvNetConfig(
    architecture="compact",
    n_mels=24,
    n_frames=50,
    channels=(3, 5, 4),
    pools=((2, 3), (3, 4), (2, 2)),
    activation="elu",
    head="flatten",
    n_tags=7,
    batch_norm_eps=1e-3,
    embedding_tap="after_pooling",
)
SMALL_CRNN = CrnnConfig(
    architecture="crnn",
    n_mels=24,
    n_frames=50,
    channels=(3, 5, 4),
    pools=((2, 2), (3, 2), (2, 2)),
    activation="elu",
    n_gru_layers=2,
    n_gru_units=6,
    n_tags=7,
    batch_norm_eps=1e-3,
)


def train_a_little(model):
    """Give a network batch-norm statistics, scales and shifts that are far from 0 and 1, and of both signs."""
    generator = torch.Generator().manual_seed(3)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        for tensor, low, high in (
            (norm.weight, 0.5, 1.5),
            (norm.bias, -1.0, 1.0),
            (norm.running_mean, -2.0, 2.0),
            (norm.running_var, 0.2, 4.0),
        ):
            tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
        norm.weight.data[::2] *= -1
    return model.eval()


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.usefixtures("seeded")
def test_the_maps_have_the_sizes_of_the_figure(name):
    config, _, sizes, channels = FIGURES[name]
    maps = torch.randn(1, 1, config.n_mels, config.n_frames)
    for block, size, n_maps in zip(build_model(config).eval().blocks, sizes, channels, strict=True):
        maps = block(maps)
        assert maps.shape == (1, n_maps, *size)
    assert config.output_size == sizes[-1]
    assert config.n_features == channels[-1]


@pytest.mark.parametrize("name", FIGURES)
def test_the_number_of_parameters_is_the_published_one(name):
    config, n_parameters, *_ = FIGURES[name]
    assert sum(parameter.numel() for parameter in build_model(config).parameters()) == n_parameters


@pytest.mark.parametrize(("config", "n_parameters"), [(fcn_config(), 447_732), (crnn_config(), 394_100)])
def test_wons_published_networks_count_the_batch_norm_of_their_input(config, n_parameters):
    front_end = LogMel(FrontEndConfig(sample_rate=16_000, fmax=8000.0, normalisation="batch_norm"))
    modules = (front_end, build_model(config))
    assert sum(parameter.numel() for module in modules for parameter in module.parameters()) == n_parameters


@pytest.mark.parametrize(
    ("name", "activation", "eps"), [("compact", nn.ELU, 1e-3), ("fcn", nn.ReLU, 1e-5), ("crnn", nn.ReLU, 1e-5)]
)
def test_each_block_is_convolution_batch_norm_activation_pooling(name, activation, eps):
    config, *_ = FIGURES[name]
    for block, pool in zip(build_model(config).blocks, config.pools, strict=True):
        conv, norm, activate, pooling = block.children()
        assert (conv.kernel_size, conv.padding, conv.stride) == ((3, 3), (1, 1), (1, 1))
        assert norm.eps == eps
        assert type(activate) is activation
        assert pooling.kernel_size == pooling.stride == pool


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.usefixtures("seeded")
def test_the_published_networks_are_the_same_in_their_inference_form(name):
    config, *_ = FIGURES[name]
    assert_inference_form_is_the_same(config, torch.randn(2, config.n_mels, config.n_frames))


@pytest.mark.parametrize("head", ["flatten", "global_max"])
@pytest.mark.parametrize("tap", ["after_pooling", "after_activation"])
@pytest.mark.parametrize("activation", ["relu", "elu"])
@pytest.mark.usefixtures("seeded")
def test_every_kind_of_network_is_the_same_in_its_inference_form(head, tap, activation):
    config = dataclasses.replace(SMALL, head=head, embedding_tap=tap, activation=activation)
    assert_inference_form_is_the_same(config, torch.randn(5, config.n_mels, config.n_frames))


@pytest.mark.parametrize("n_gru_layers", [1, 3])
@pytest.mark.parametrize("n_mels", [24, 48])
@pytest.mark.usefixtures("seeded")
def test_every_kind_of_crnn_is_the_same_in_its_inference_form(n_gru_layers, n_mels):
    config = dataclasses.replace(SMALL_CRNN, n_gru_layers=n_gru_layers, n_mels=n_mels)
    assert config.output_size == (n_mels // 12, 6)
    assert_inference_form_is_the_same(config, torch.randn(5, config.n_mels, config.n_frames))


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize(
    "config", [compact_config(), fcn_config(), compact_config(head="global_max"), crnn_config()], ids=range(4)
)
@pytest.mark.usefixtures("seeded")
def test_with_and_without_onednns_layout_the_network_is_the_same(is_fast, config, monkeypatch):
    if is_fast and not inference_form.has_fast_onednn():
        pytest.skip("oneDNN is not at its best here")
    monkeypatch.setattr(inference_form, "has_fast_onednn", lambda: is_fast)
    was_converted = []
    to_mkldnn = torch.Tensor.to_mkldnn
    monkeypatch.setattr(torch.Tensor, "to_mkldnn", lambda tensor: was_converted.append(True) or to_mkldnn(tensor))
    assert_inference_form_is_the_same(config, torch.randn(2, config.n_mels, config.n_frames))
    assert bool(was_converted) == is_fast


@pytest.mark.parametrize("config", [SMALL, SMALL_CRNN], ids=["convnet", "crnn"])
@pytest.mark.usefixtures("seeded")
def test_other_numbers_than_float32_and_gradients_pass_the_inference_form_too(config):
    model = to_inference_form(train_a_little(build_model(config)))
    log_mel = torch.randn(2, SMALL.n_mels, SMALL.n_frames)
    expected = model(log_mel)
    listened = log_mel.clone().requires_grad_()
    model(listened).sum().backward()
    assert listened.grad.abs().sum() > 0
    torch.testing.assert_close(model.double()(log_mel.double()).float(), expected, rtol=0, atol=SCORES)
    halved = model.half()(log_mel.half())
    assert halved.dtype == torch.float16
    torch.testing.assert_close(halved.float(), expected, rtol=0, atol=HALF)


def assert_inference_form_is_the_same(config, log_mel):
    model = train_a_little(build_model(config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inference = to_inference_form(model)
    with torch.no_grad():
        expected, found = model.embed(log_mel), inference.embed(log_mel)
        logits = inference(log_mel)
        torch.testing.assert_close(model(log_mel), expected.logits, rtol=0, atol=SCORES)
    assert expected.logits.std() > 0.01, "the network says the same of everything"
    torch.testing.assert_close(torch.sigmoid(logits), torch.sigmoid(expected.logits), rtol=0, atol=SCORES)
    torch.testing.assert_close(torch.sigmoid(found.logits), torch.sigmoid(expected.logits), rtol=0, atol=SCORES)
    n_of_layers = [*config.channels, *([config.n_gru_units] if isinstance(config, CrnnConfig) else [])]
    assert [embedding.shape for embedding in found.embeddings] == [(len(log_mel), n) for n in n_of_layers]
    for ours, theirs in zip(found.embeddings, expected.embeddings, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=EMBEDDINGS, atol=EMBEDDINGS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in inference.parameters())


@pytest.mark.usefixtures("seeded")
def test_an_embedding_is_the_mean_of_the_map_where_it_is_tapped():
    log_mel = torch.randn(2, SMALL.n_mels, SMALL.n_frames)
    for tap in ("after_pooling", "after_activation"):
        model = train_a_little(build_model(dataclasses.replace(SMALL, embedding_tap=tap)))
        maps, expected = log_mel.unsqueeze(1), []
        for block in model.blocks:
            activated = nn.functional.elu(block.norm(block.conv(maps)))
            maps = nn.functional.max_pool2d(activated, block.pool.kernel_size)
            expected.append((maps if tap == "after_pooling" else activated).mean(dim=(2, 3)))
        for ours, theirs in zip(model.embed(log_mel).embeddings, expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("seeded")
def test_a_flat_head_reads_the_last_map_in_the_order_channels_bands_frames():
    config = dataclasses.replace(SMALL, n_mels=48, n_frames=96, channels=(3, 5, 4))
    assert config.output_size == (4, 4)
    model = train_a_little(build_model(config))
    log_mel = torch.randn(2, 48, 96)
    with torch.no_grad():
        last = log_mel.unsqueeze(1)
        for block in model.blocks:
            last = block(last)
        weight = model.dense.weight.reshape(7, 4, 4, 4)
        expected = torch.einsum("tcbf,ncbf->nt", weight, last) + model.dense.bias
        torch.testing.assert_close(model(log_mel), expected)
        torch.testing.assert_close(to_inference_form(model)(log_mel), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["compact", "crnn"])
@pytest.mark.usefixtures("seeded")
def test_a_clip_scores_the_same_alone_and_in_any_company(name):
    config, *_ = FIGURES[name]
    model = to_inference_form(train_a_little(build_model(config)))
    log_mel = torch.randn(3, config.n_mels, config.n_frames)
    together = torch.sigmoid(model(log_mel))
    alone = torch.sigmoid(torch.cat([model(clip[None]) for clip in log_mel]))
    torch.testing.assert_close(alone, together, rtol=0, atol=SCORES)
    torch.testing.assert_close(torch.sigmoid(model(log_mel.flip(0))).flip(0), together, rtol=0, atol=SCORES)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", FIGURES)
def test_every_convolution_runs_channels_last(name):
    # a first layer that is not costs a CPU several times as much, and nothing else tells
    for block in to_inference_form(build_model(FIGURES[name][0])).blocks:
        assert block.conv.weight.stride()[1] == 1


def test_subnormal_weights_are_flushed_and_nothing_is_heard_of_it():
    model = train_a_little(build_model(SMALL))
    log_mel = torch.randn(4, SMALL.n_mels, SMALL.n_frames)
    with torch.no_grad():
        for block in model.blocks:
            block.conv.weight[::2] = SUBNORMAL
        assert 0 < model.blocks[0].conv.weight[0, 0, 0, 0] < torch.finfo(torch.float32).tiny
        inference = to_inference_form(model)
        torch.testing.assert_close(
            torch.sigmoid(inference(log_mel)), torch.sigmoid(model(log_mel)), rtol=0, atol=SCORES
        )
    for block in inference.blocks:
        assert not block.conv.weight[::2].any()
        assert block.conv.weight[1::2].all()


def test_subnormal_weights_of_recurrent_units_and_of_the_head_are_flushed_too():
    model = build_model(SMALL_CRNN)
    with torch.no_grad():
        for weight in (model.gru.weight_ih_l0, model.gru.weight_hh_l1, model.dense.weight):
            weight[::2] = SUBNORMAL
    inference = to_inference_form(model)
    for weight in (inference.gru.weight_ih_l0, inference.gru.weight_hh_l1, inference.dense.weight):
        assert not weight[::2].any()
        assert weight[1::2].all()
    assert model.gru.weight_ih_l0[0, 0] > 0


@pytest.mark.parametrize(
    "shape", [(24, 50), (1, 1, 24, 50), (1, 50, 24), (1, 24, 49), (1, 24, 51), (1, 23, 50), (1, 24, 50, 1)]
)
def test_a_map_of_another_size_is_refused(shape):
    for config in (SMALL, SMALL_CRNN):
        model = build_model(config).eval()
        for network in (model, model.embed, to_inference_form(model), to_inference_form(model).embed):
            with pytest.raises(ValueError, match=r"takes \(n_clips, 24, 50\), not"):
                network(torch.zeros(shape))


@pytest.mark.usefixtures("seeded")
def test_global_pooling_reads_the_greatest_value_of_each_map():
    model = train_a_little(build_model(dataclasses.replace(SMALL, head="global_max")))
    log_mel = torch.randn(2, 24, 200)
    with torch.no_grad():
        last = log_mel.unsqueeze(1)
        for block in model.blocks:
            last = block(last)
        assert last.shape == (2, 4, 2, 8)
        expected = last.reshape(2, 4, 16).max(dim=2).values @ model.dense.weight.T + model.dense.bias
        torch.testing.assert_close(model(log_mel), expected)


def test_global_pooling_takes_maps_of_any_length():
    model = build_model(dataclasses.replace(SMALL, head="global_max")).eval()
    for n_frames in (24, 49, 130):
        assert to_inference_form(model)(torch.zeros(2, 24, n_frames)).shape == (2, 7)
    with pytest.raises(ValueError, match=r"takes \(n_clips, 24, n_frames\), not"):
        model(torch.zeros(2, 23, 50))


def test_poolings_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="an input of 24 x 23 vanishes"):
        dataclasses.replace(SMALL, n_frames=23)
    with pytest.raises(ValueError, match="vanishes"):
        dataclasses.replace(SMALL, n_mels=11)
    # the poolings that the paper prints for blocks 2 and 3
    with pytest.raises(ValueError, match="an input of 96 x 1360 vanishes"):
        dataclasses.replace(compact_config(), pools=((2, 4), (4, 4), (4, 5), (2, 4), (4, 4)))


@pytest.mark.parametrize("config", [SMALL, SMALL_CRNN], ids=["convnet", "crnn"])
def test_blocks_and_poolings_are_as_many(config):
    with pytest.raises(ValueError, match="3 blocks of maps but 2 poolings"):
        dataclasses.replace(config, pools=((2, 2), (2, 2)))


@pytest.mark.parametrize("change", [{"n_gru_layers": 0}, {"n_gru_units": 0}])
def test_a_crnn_has_recurrent_units(change):
    with pytest.raises(ValueError, match="begin at 1"):
        dataclasses.replace(SMALL_CRNN, **change)


def gru_states(steps, gru):
    """States [shape=(n_steps, n_units)] of one clip's steps: the equations, one number's precision higher."""
    sequence = steps.double()
    for layer in range(gru.num_layers):
        of_input, of_state = (getattr(gru, f"weight_{part}_l{layer}").double() for part in ("ih", "hh"))
        input_bias, state_bias = (getattr(gru, f"bias_{part}_l{layer}").double() for part in ("ih", "hh"))
        state, states = torch.zeros(gru.hidden_size, dtype=torch.float64), []
        for step in sequence:
            reset_in, update_in, candidate_in = (of_input @ step + input_bias).chunk(3)
            reset_state, update_state, candidate_state = (of_state @ state + state_bias).chunk(3)
            update = torch.sigmoid(update_in + update_state)
            candidate = torch.tanh(candidate_in + torch.sigmoid(reset_in + reset_state) * candidate_state)
            state = (1 - update) * candidate + update * state
            states.append(state)
        sequence = torch.stack(states)
    return sequence


@pytest.mark.parametrize("n_mels", [24, 48])
@pytest.mark.usefixtures("seeded")
def test_recurrent_units_read_the_map_from_its_first_frame_to_its_last(n_mels):
    model = train_a_little(build_model(dataclasses.replace(SMALL_CRNN, n_mels=n_mels)))
    log_mel = torch.randn(2, n_mels, 50)
    with torch.no_grad():
        output = model.embed(log_mel)
        maps = model.blocks(log_mel.unsqueeze(1))
        for clip, state, logits in zip(maps, output.embeddings[-1], output.logits, strict=True):
            # at each frame all bands of the first map, then of the next
            steps = torch.stack([clip[:, :, frame].flatten() for frame in range(clip.shape[2])])
            last = gru_states(steps, model.gru)[-1]
            torch.testing.assert_close(state.double(), last, rtol=0, atol=SCORES)
            expected = model.dense.weight.double() @ last + model.dense.bias
            torch.testing.assert_close(logits.double(), expected, rtol=0, atol=SCORES)


@pytest.mark.usefixtures("seeded")
def test_the_recurrence_keeps_its_precision_where_convolutions_are_run_in_another():
    model = build_model(SMALL_CRNN)
    log_mel = torch.randn(3, SMALL_CRNN.n_mels, SMALL_CRNN.n_frames)
    with torch.autocast("cpu", torch.bfloat16):
        *blocks, state = model.embed(log_mel).embeddings
        model(log_mel).float().square().sum().backward()
    assert {embedding.dtype for embedding in blocks} == {torch.bfloat16}
    assert state.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("head", ["flatten", "global_max"])
def test_the_dense_layer_fits_the_head(head):
    config = dataclasses.replace(SMALL, n_frames=150, head=head)
    assert config.output_size == (2, 6)
    assert build_model(config).dense.in_features == config.n_features == (48 if head == "flatten" else 4)


def test_a_network_without_running_statistics_is_refused():
    model = build_model(SMALL)
    model.blocks[1].norm = nn.BatchNorm2d(5, track_running_stats=False)
    with pytest.raises(ValueError, match="without running statistics"):
        to_inference_form(model)


@pytest.mark.parametrize("shift", [0.0, -60.0])
def test_the_first_block_learns_what_batch_norm_of_its_maps_would(shift):
    """Output, gradients and running statistics."""
    torch.manual_seed(0)
    block = ConvBlock(1, 6, (2, 3), SMALL)
    train_a_little(block)
    plain = copy.deepcopy(block.train())
    maps = 12 * torch.randn(4, 1, 24, 50).cumsum(dim=3) / 5 + shift
    results = []
    for convolve, each in ((block._convolve, block), (lambda maps: plain.norm(plain.conv(maps)), plain)):
        convolved = convolve(maps)
        each.activation(each.pool(convolved)).square().sum().backward()
        results.append((convolved.detach(), each))
    (ours, learning), (theirs, reference) = results
    assert torch.allclose(ours, theirs, atol=2e-4)
    assert theirs.std() > 0.5
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    assert gradients["conv.weight"].abs().max() > 1
    for name, parameter in learning.named_parameters():
        if name == "conv.bias":  # which a batch norm takes away: the other's is rounding
            assert torch.equal(parameter.grad, torch.zeros(6))
            continue
        assert torch.allclose(parameter.grad, gradients[name], rtol=1e-3, atol=1e-3 * gradients[name].abs().max())
    for name, buffer in reference.named_buffers():
        assert torch.allclose(dict(learning.named_buffers())[name].float(), buffer.float(), rtol=1e-4, atol=1e-4), name


def test_the_first_block_keeps_the_maps_where_a_gradient_or_their_statistics_are_wanted():
    block = ConvBlock(1, 3, (2, 2), SMALL)
    maps = torch.randn(2, 1, 8, 10)
    block.eval()
    before = block.norm.running_mean.clone()
    assert torch.equal(block(maps), block.activation(block.pool(block.norm(block.conv(maps)))))
    assert torch.equal(block.norm.running_mean, before)
    block.train()
    plain = copy.deepcopy(block)
    gradients = []
    for convolve, each in ((block._convolve, block), (lambda maps: plain.norm(plain.conv(maps)), plain)):
        listened = maps.clone().requires_grad_()
        each.activation(each.pool(convolve(listened))).square().sum().backward()
        gradients.append(listened.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0.1


@pytest.mark.parametrize("change", [lambda block: block.double(), lambda block: setattr(block.norm, "momentum", None)])
def test_the_first_block_learns_in_other_forms_too(change):
    block = ConvBlock(1, 3, (2, 2), SMALL)
    change(block)
    maps = torch.randn(2, 1, 8, 10, dtype=block.conv.weight.dtype)
    normed = block._convolve(maps)
    torch.testing.assert_close(normed.mean(dim=(0, 2, 3)), torch.zeros(3, dtype=maps.dtype), rtol=0, atol=1e-5)
    assert block.norm.running_mean.abs().max() > 0
