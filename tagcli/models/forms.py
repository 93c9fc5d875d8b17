"""Every kind of network in its two forms, of one configuration: as it learns, and as it scores."""

import copy

import torch
from torch import nn

from tagcli.models.blocks import BlockStack, ConvBlock
from tagcli.models.choi2016 import Choi2016Crnn
from tagcli.models.config import Choi2016Config, ConvNetConfig, CrnnConfig, ModelConfig
from tagcli.models.convnet import ConvNet
from tagcli.models.crnn import Crnn
from tagcli.models.inference import FoldedBlock, fold_layers
from tagcli.models.musicnn import Musicnn
from tagcli.models.musicnn_config import MusicnnConfig

NEGLIGIBLE_WEIGHT = 1e-30  # weight decay leaves such weights; a CPU multiplies subnormal numbers 25 times slower

Model = ConvNet | Crnn | Choi2016Crnn | Musicnn


def build_model(config: ModelConfig) -> Model:
    """Build the network that a configuration describes, untrained."""
    match config:
        case ConvNetConfig():
            return ConvNet(config)
        case CrnnConfig():
            return Crnn(config)
        case Choi2016Config():
            return Choi2016Crnn(config)
        case MusicnnConfig():
            return Musicnn(config)


def to_inference_form(model: Model) -> Model:
    """Make the form of a network that scores, from one that is trained; that one is left as it is.

    Its batch norms are folded unless they take their statistics from each clip, weights of no weight are zero, and it
    learns no more. It takes, gives and raises the same.

    Raises
    ------
    ValueError
        When a batch norm has no running statistics.
    """
    scoring = copy.deepcopy(model)
    if isinstance(scoring, Musicnn):
        fold_layers(scoring)
    else:
        blocks = (block for block in scoring.blocks if isinstance(block, ConvBlock))
        scoring.blocks = BlockStack(
            *(block if isinstance(block.norm, nn.InstanceNorm2d) else FoldedBlock(block) for block in blocks)
        )
    with torch.no_grad():
        for parameter in scoring.parameters():
            parameter[parameter.abs() < NEGLIGIBLE_WEIGHT] = 0
    return scoring.requires_grad_(False).eval()
