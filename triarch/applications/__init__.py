"""Networks that are known by name, as functions: the residual family, its plain twins, and their published weights."""

from triarch.applications import resnet, resnet_v2
from triarch.applications.networks import NETWORKS
from triarch.applications.weights import WeightReport, read_weights

ResNet18 = NETWORKS["ResNet18"]
ResNet34 = NETWORKS["ResNet34"]
ResNet50 = NETWORKS["ResNet50"]
ResNet101 = NETWORKS["ResNet101"]
ResNet152 = NETWORKS["ResNet152"]
ResNet18V2 = NETWORKS["ResNet18V2"]
ResNet34V2 = NETWORKS["ResNet34V2"]
ResNet50V2 = NETWORKS["ResNet50V2"]
ResNet101V2 = NETWORKS["ResNet101V2"]
ResNet152V2 = NETWORKS["ResNet152V2"]
ResNet20 = NETWORKS["ResNet20"]
ResNet32 = NETWORKS["ResNet32"]
ResNet44 = NETWORKS["ResNet44"]
ResNet56 = NETWORKS["ResNet56"]
ResNet110 = NETWORKS["ResNet110"]
ResNet1202 = NETWORKS["ResNet1202"]
PlainNet20 = NETWORKS["PlainNet20"]
PlainNet32 = NETWORKS["PlainNet32"]
PlainNet44 = NETWORKS["PlainNet44"]
PlainNet56 = NETWORKS["PlainNet56"]
PlainNet110 = NETWORKS["PlainNet110"]

__all__ = [
    "PlainNet20",
    "PlainNet32",
    "PlainNet44",
    "PlainNet56",
    "PlainNet110",
    "ResNet18",
    "ResNet18V2",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet34V2",
    "ResNet44",
    "ResNet50",
    "ResNet50V2",
    "ResNet56",
    "ResNet101",
    "ResNet101V2",
    "ResNet110",
    "ResNet152",
    "ResNet152V2",
    "ResNet1202",
    "WeightReport",
    "read_weights",
    "resnet",
    "resnet_v2",
]
