"""The networks are the papers' figures, and their inference form says the same."""

import dataclasses

import pytest
import torch
from torch import nn

from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel
from tagcli.models import inference as inference_form
from tagcli.models.config import ConvNetConfig, compact_config, fcn_config
from tagcli.models.convnet import ConvNet
from tagcli.models.inference import InferenceConvNet

SCORES = 1e-5
"""Of the folded form against the plain one: the same float32 sums in another order."""
EMBEDDINGS = 1e-4
"""Relative; activations are larger than scores."""
SUBNORMAL = 1e-39

FIGURES = {
    "compact": (compact_config(), 39_282, ((48, 340), (16, 85), (8, 17), (4, 4), (1, 1)), (32, 32, 32, 32, 32)),
    "fcn": (fcn_config(), 447_730, ((48, 453), (24, 113), (12, 28), (4, 5), (1, 1)), (64, 128, 128, 128, 64)),
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
    for block, size, n_maps in zip(ConvNet(config).eval().blocks, sizes, channels, strict=True):
        maps = block(maps)
        assert maps.shape == (1, n_maps, *size)
    assert config.output_size == (1, 1)
    assert config.n_features == channels[-1]


@pytest.mark.parametrize("name", FIGURES)
def test_the_number_of_parameters_is_the_published_one(name):
    config, n_parameters, *_ = FIGURES[name]
    assert sum(parameter.numel() for parameter in ConvNet(config).parameters()) == n_parameters


def test_the_published_fcn_counts_the_batch_norm_of_its_input():
    front_end = LogMel(FrontEndConfig(sample_rate=16_000, fmax=8000.0, normalisation="batch_norm"))
    modules = (front_end, ConvNet(fcn_config()))
    assert sum(parameter.numel() for module in modules for parameter in module.parameters()) == 447_732


@pytest.mark.parametrize(("name", "activation", "eps"), [("compact", nn.ELU, 1e-3), ("fcn", nn.ReLU, 1e-5)])
def test_each_block_is_convolution_batch_norm_activation_pooling(name, activation, eps):
    config, *_ = FIGURES[name]
    for block, pool in zip(ConvNet(config).blocks, config.pools, strict=True):
        conv, norm, activate, pooling = block.children()
        assert (conv.kernel_size, conv.padding, conv.stride) == ((3, 3), (1, 1), (1, 1))
        assert norm.eps == eps
        assert type(activate) is activation
        assert pooling.kernel_size == pooling.stride == pool


@pytest.mark.parametrize("config", [compact_config(), fcn_config()], ids=["compact", "fcn"])
@pytest.mark.usefixtures("seeded")
def test_the_published_networks_are_the_same_in_their_inference_form(config):
    assert_inference_form_is_the_same(config, torch.randn(2, config.n_mels, config.n_frames))


@pytest.mark.parametrize("head", ["flatten", "global_max"])
@pytest.mark.parametrize("tap", ["after_pooling", "after_activation"])
@pytest.mark.parametrize("activation", ["relu", "elu"])
@pytest.mark.usefixtures("seeded")
def test_every_kind_of_network_is_the_same_in_its_inference_form(head, tap, activation):
    config = dataclasses.replace(SMALL, head=head, embedding_tap=tap, activation=activation)
    assert_inference_form_is_the_same(config, torch.randn(5, config.n_mels, config.n_frames))


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize("config", [compact_config(), fcn_config(), compact_config(head="global_max")], ids=range(3))
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


@pytest.mark.usefixtures("seeded")
def test_other_numbers_than_float32_and_gradients_pass_the_inference_form_too():
    model = InferenceConvNet(train_a_little(ConvNet(SMALL)))
    log_mel = torch.randn(2, SMALL.n_mels, SMALL.n_frames)
    expected = model(log_mel)
    listened = log_mel.clone().requires_grad_()
    model(listened).sum().backward()
    assert listened.grad.abs().sum() > 0
    torch.testing.assert_close(model.double()(log_mel.double()).float(), expected, rtol=0, atol=SCORES)


def assert_inference_form_is_the_same(config, log_mel):
    model = train_a_little(ConvNet(config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inference = InferenceConvNet(model)
    with torch.no_grad():
        expected, found = model.embed(log_mel), inference.embed(log_mel)
        logits = inference(log_mel)
        torch.testing.assert_close(model(log_mel), expected.logits, rtol=0, atol=SCORES)
    assert expected.logits.std() > 0.01, "the network says the same of everything"
    torch.testing.assert_close(torch.sigmoid(logits), torch.sigmoid(expected.logits), rtol=0, atol=SCORES)
    torch.testing.assert_close(torch.sigmoid(found.logits), torch.sigmoid(expected.logits), rtol=0, atol=SCORES)
    assert [embedding.shape for embedding in found.embeddings] == [(len(log_mel), n) for n in config.channels]
    for ours, theirs in zip(found.embeddings, expected.embeddings, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=EMBEDDINGS, atol=EMBEDDINGS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in inference.parameters())


@pytest.mark.usefixtures("seeded")
def test_an_embedding_is_the_mean_of_the_map_where_it_is_tapped():
    log_mel = torch.randn(2, SMALL.n_mels, SMALL.n_frames)
    for tap in ("after_pooling", "after_activation"):
        model = train_a_little(ConvNet(dataclasses.replace(SMALL, embedding_tap=tap)))
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
    model = train_a_little(ConvNet(config))
    log_mel = torch.randn(2, 48, 96)
    with torch.no_grad():
        last = log_mel.unsqueeze(1)
        for block in model.blocks:
            last = block(last)
        weight = model.dense.weight.reshape(7, 4, 4, 4)
        expected = torch.einsum("tcbf,ncbf->nt", weight, last) + model.dense.bias
        torch.testing.assert_close(model(log_mel), expected)
        torch.testing.assert_close(InferenceConvNet(model)(log_mel), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("seeded")
def test_a_clip_scores_the_same_alone_and_in_any_company():
    model = InferenceConvNet(train_a_little(ConvNet(compact_config())))
    log_mel = torch.randn(3, 96, 1360)
    together = torch.sigmoid(model(log_mel))
    alone = torch.sigmoid(torch.cat([model(clip[None]) for clip in log_mel]))
    torch.testing.assert_close(alone, together, rtol=0, atol=SCORES)
    torch.testing.assert_close(torch.sigmoid(model(log_mel.flip(0))).flip(0), together, rtol=0, atol=SCORES)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("name", FIGURES)
def test_every_convolution_runs_channels_last(name):
    # a first layer that is not costs a CPU several times as much, and nothing else tells
    for conv in InferenceConvNet(ConvNet(FIGURES[name][0])).convs:
        assert conv.weight.stride()[1] == 1


def test_subnormal_weights_are_flushed_and_nothing_is_heard_of_it():
    model = train_a_little(ConvNet(SMALL))
    log_mel = torch.randn(4, SMALL.n_mels, SMALL.n_frames)
    with torch.no_grad():
        for block in model.blocks:
            block.conv.weight[::2] = SUBNORMAL
        assert 0 < model.blocks[0].conv.weight[0, 0, 0, 0] < torch.finfo(torch.float32).tiny
        inference = InferenceConvNet(model)
        torch.testing.assert_close(
            torch.sigmoid(inference(log_mel)), torch.sigmoid(model(log_mel)), rtol=0, atol=SCORES
        )
    for conv in inference.convs:
        assert not conv.weight[::2].any()
        assert conv.weight[1::2].all()


@pytest.mark.parametrize(
    "shape", [(24, 50), (1, 1, 24, 50), (1, 50, 24), (1, 24, 49), (1, 24, 51), (1, 23, 50), (1, 24, 50, 1)]
)
def test_a_map_of_another_size_is_refused(shape):
    model = ConvNet(SMALL).eval()
    for network in (model, model.embed, InferenceConvNet(model), InferenceConvNet(model).embed):
        with pytest.raises(ValueError, match=r"takes \(n_clips, 24, 50\), not"):
            network(torch.zeros(shape))


@pytest.mark.usefixtures("seeded")
def test_global_pooling_reads_the_greatest_value_of_each_map():
    model = train_a_little(ConvNet(dataclasses.replace(SMALL, head="global_max")))
    log_mel = torch.randn(2, 24, 200)
    with torch.no_grad():
        last = log_mel.unsqueeze(1)
        for block in model.blocks:
            last = block(last)
        assert last.shape == (2, 4, 2, 8)
        expected = last.reshape(2, 4, 16).max(dim=2).values @ model.dense.weight.T + model.dense.bias
        torch.testing.assert_close(model(log_mel), expected)


def test_global_pooling_takes_maps_of_any_length():
    model = ConvNet(dataclasses.replace(SMALL, head="global_max")).eval()
    for n_frames in (24, 49, 130):
        assert InferenceConvNet(model)(torch.zeros(2, 24, n_frames)).shape == (2, 7)
    with pytest.raises(ValueError, match="takes"):
        model(torch.zeros(2, 23, 50))


def test_poolings_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="an input of 24 x 23 vanishes"):
        dataclasses.replace(SMALL, n_frames=23)
    with pytest.raises(ValueError, match="vanishes"):
        dataclasses.replace(SMALL, n_mels=11)
    # the poolings that the paper prints for blocks 2 and 3
    with pytest.raises(ValueError, match="an input of 96 x 1360 vanishes"):
        dataclasses.replace(compact_config(), pools=((2, 4), (4, 4), (4, 5), (2, 4), (4, 4)))


def test_blocks_and_poolings_are_as_many():
    with pytest.raises(ValueError, match="3 blocks of maps but 2 poolings"):
        dataclasses.replace(SMALL, pools=((2, 2), (2, 2)))


@pytest.mark.parametrize("head", ["flatten", "global_max"])
def test_the_dense_layer_fits_the_head(head):
    config = dataclasses.replace(SMALL, n_frames=150, head=head)
    assert config.output_size == (2, 6)
    assert ConvNet(config).dense.in_features == config.n_features == (48 if head == "flatten" else 4)


def test_a_network_without_running_statistics_is_refused():
    model = ConvNet(SMALL)
    model.blocks[1].norm = nn.BatchNorm2d(5, track_running_stats=False)
    with pytest.raises(ValueError, match="without running statistics"):
        InferenceConvNet(model)
