"""Layers: from tensors to tensors, with Keras's names and arguments, each of them a `torch.nn.Module`."""

from triarch.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from triarch.layers.base import Layer
from triarch.layers.batch_normalization import BatchNormalization
from triarch.layers.convolutional import Conv1D, Conv2D, Conv3D, Convolution1D, Convolution2D, Convolution3D
from triarch.layers.convolutional_kinds import (
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
    Convolution1DTranspose,
    Convolution2DTranspose,
    Convolution3DTranspose,
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
from triarch.layers.core import Dense, Identity, Lambda, Rescaling
from triarch.layers.embedding import Embedding, Masking
from triarch.layers.input import Input, InputLayer
from triarch.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from triarch.layers.normalization import GroupNormalization, LayerNormalization, RMSNormalization, UnitNormalization
from triarch.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from triarch.layers.preprocessing.hashing import Hashing
from triarch.layers.preprocessing.images.affine import RandomAffine
from triarch.layers.preprocessing.images.colours import RandomBrightness, RandomContrast
from triarch.layers.preprocessing.images.erasing import RandomErasing
from triarch.layers.preprocessing.images.flips_and_crops import CenterCrop, RandomCrop, RandomFlip
from triarch.layers.preprocessing.images.geometry import RandomRotation, RandomShear, RandomTranslation, RandomZoom
from triarch.layers.preprocessing.images.mixing import CutMix, MixUp
from triarch.layers.preprocessing.images.perspective import RandomPerspective
from triarch.layers.preprocessing.images.resizing import Resizing
from triarch.layers.preprocessing.lookup import IntegerLookup, StringLookup
from triarch.layers.preprocessing.normalization import Normalization
from triarch.layers.preprocessing.pipeline import Pipeline
from triarch.layers.preprocessing.text_vectorization import TextVectorization
from triarch.layers.recurrent.bidirectional import Bidirectional
from triarch.layers.recurrent.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from triarch.layers.recurrent.gru import GRU, GRUCell
from triarch.layers.recurrent.lstm import LSTM, LSTMCell
from triarch.layers.recurrent.rnn import RNN
from triarch.layers.recurrent.simple_rnn import SimpleRNN, SimpleRNNCell
from triarch.layers.recurrent.stacked import StackedRNNCells
from triarch.layers.recurrent.time_distributed import TimeDistributed
from triarch.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from triarch.layers.residual import Residual
from triarch.layers.resizing import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from triarch.layers.shaping import Flatten, Permute, RepeatVector, Reshape
from triarch.layers.spatial.grids import AffineGrid, GridSample
from triarch.layers.spatial.transformer import SpatialTransformer
from triarch.layers.spectral_normalization import SpectralNormalization
from triarch.layers.torch_modules import TorchModuleWrapper
from triarch.serialization import Lookup

_lookup = Lookup("keras.layers")
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AffineGrid",
    "AlphaDropout",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNormalization",
    "Bidirectional",
    "CenterCrop",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "CutMix",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GridSample",
    "GroupNormalization",
    "Hashing",
    "Identity",
    "Input",
    "InputLayer",
    "IntegerLookup",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "Minimum",
    "MixUp",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "Pipeline",
    "RMSNormalization",
    "RandomAffine",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Residual",
    "Resizing",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpatialTransformer",
    "SpectralNormalization",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "TimeDistributed",
    "TorchModuleWrapper",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "get",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]
