"""`Layer` as users extend it, and as a `torch.nn.Module`."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

import triarch
from triarch import Input, layers, registry
from triarch.serialization import deserialize_keras_object, serialize_keras_object


@registry.register_keras_serializable("layer_tests")
class Scale(layers.Layer):
    """A weight made in `__init__`, one in `build`, a state that is not learnt."""

    def __init__(self, start=2.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start
        self.factor = self.add_weight((), initializer="ones", name="factor")
        self.calls = self.add_weight((), initializer="zeros", dtype="int64", trainable=False, name="calls")

    def build(self, input_shape):
        self.shift = self.add_weight((input_shape[-1],), initializer="zeros", name="shift", regularizer="l2")

    def call(self, inputs):
        self.calls.assign_add(1)
        return inputs * self.factor * self.start + self.shift


class Block(layers.Layer):
    """Layers in an attribute, a list, a tuple and a dict, and a torch module."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(4)
        self.stack = [layers.Dense(4), (layers.Dense(4), layers.Dropout(0.5))]
        self.by_name = {"scale": Scale()}
        self.linear = torch.nn.Linear(4, 2)

    def call(self, inputs):
        hidden = self.stack[0](self.first(inputs))
        hidden = self.stack[1][1](self.stack[1][0](hidden))
        return self.linear(self.by_name["scale"](hidden))


class ModeReader(layers.Layer):
    """Tells which mode it ran in, and its child."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.child = ModeChild()

    def call(self, inputs, training=None):
        self.seen = training
        return self.child(inputs)


class ModeChild(layers.Layer):
    def call(self, inputs, training=None):
        self.seen = training
        return inputs


class Reporter(layers.Layer):
    """Adds a loss in `call`."""

    def call(self, inputs):
        self.add_loss(inputs.square().mean())
        return inputs


class TwoInputs(layers.Layer):
    """Builds from two shapes."""

    def build(self, left_shape, right_shape):
        self.kernel = self.add_weight((left_shape[-1], right_shape[-1]), name="kernel")

    def call(self, left, right):
        return (left @ self.kernel * right).sum(-1, keepdim=True)


@pytest.fixture
def block() -> Block:
    block = Block()
    block(torch.zeros(1, 3))
    return block


def test_weights_of_a_custom_layer():
    layer = Scale(name="mine")
    assert [weight.name for weight in layer.weights] == ["factor", "calls"]
    outputs = layer(np.ones((2, 3)))
    assert torch.equal(outputs, torch.full((2, 3), 2.0))
    assert [weight.path for weight in layer.weights] == ["mine/factor", "mine/shift", "mine/calls"]
    assert [weight.name for weight in layer.trainable_weights] == ["factor", "shift"]
    assert [weight.name for weight in layer.non_trainable_weights] == ["calls"]
    assert layer.count_params() == 5
    assert layer.shift.dtype is torch.float32
    assert layer.calls.numpy() == 1


def test_containers_are_tracked(block):
    names = list(dict(block.named_parameters()))
    assert names[:6] == [
        "first.kernel",
        "first.bias",
        "stack.0.kernel",
        "stack.0.bias",
        "stack.1.0.kernel",
        "stack.1.0.bias",
    ]
    assert "by_name.scale.factor" in names
    assert "linear.weight" in names
    assert len(block.weights) == len(names) == 11
    assert block.count_params() == sum(parameter.numel() for parameter in block.parameters())
    assert list(block.state_dict()) == names


def test_containers_can_be_replaced(block):
    block.stack = [layers.Dense(4), (layers.Identity(), layers.Identity())]
    block(torch.zeros(1, 3))
    assert len(block.weights) == 9
    assert "stack.0.kernel" in dict(block.named_parameters())


def test_a_layer_used_twice_counts_once():
    layer = layers.Layer()
    layer.one = layers.Dense(2)
    layer.other = layer.one
    layer.one.build((None, 2))
    assert len(layer.weights) == 2


def test_weights_in_a_list():
    class Stack(layers.Layer):
        def build(self, input_shape):
            self.kernels = [self.add_weight((input_shape[-1],) * 2, name=f"kernel_{i}") for i in range(3)]

        def call(self, inputs):
            for kernel in self.kernels:
                inputs = inputs @ kernel
            return inputs

    layer = Stack()
    layer(torch.ones(1, 2)).sum().backward()
    assert [weight.name for weight in layer.trainable_weights] == ["kernel_0", "kernel_1", "kernel_2"]
    assert list(layer.state_dict()) == ["kernels.0", "kernels.1", "kernels.2"]


def test_state_dict_round_trip(block):
    other = Block()
    other(torch.zeros(1, 3))
    assert not torch.equal(other.first.kernel, block.first.kernel)
    other.load_state_dict(block.state_dict())
    inputs = torch.randn(2, 3)
    assert torch.equal(block(inputs), other(inputs))


def test_build_from_two_inputs():
    layer = TwoInputs()
    assert layer(torch.ones(2, 3), torch.ones(2, 4)).shape == (2, 1)
    assert layer.kernel.shape == (3, 4)
    assert layer.get_build_config() == {"shapes_dict": {"left_shape": (None, 3), "right_shape": (None, 4)}}
    other = TwoInputs()
    other.build_from_config(layer.get_build_config())
    assert other.kernel.shape == (3, 4)


def test_training_argument():
    layer = ModeReader()
    inputs = torch.zeros(1)
    layer(inputs)
    assert (layer.seen, layer.child.seen) == (False, False)
    layer(inputs, training=True)
    assert (layer.seen, layer.child.seen) == (True, True)
    assert not layer.training
    assert not layer.child.training
    layer.train()
    layer(inputs)
    assert (layer.seen, layer.child.seen) == (True, True)
    layer(inputs, training=False)
    assert (layer.seen, layer.child.seen) == (False, False)
    assert layer.training
    layer(inputs, training=None)
    assert layer.seen is True


def test_training_mode_comes_back_after_an_error():
    layer = layers.Lambda(lambda x, training: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        layer(torch.zeros(1), training=True)
    assert not layer.training


def test_freezing(block):
    everything = len(block.weights)
    block.trainable = False
    assert block.trainable_weights == []
    assert len(block.non_trainable_weights) == everything
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert not block.first.trainable
    block.trainable = True
    assert len(block.trainable_weights) == everything - 1  # the count of calls is no number to learn
    block.first.trainable = False
    assert len(block.trainable_weights) == everything - 3


def test_freezing_before_building():
    layer = layers.Dense(2, trainable=False)
    layer(torch.ones(1, 3))
    assert layer.trainable_weights == []
    layer.trainable = True
    assert len(layer.trainable_weights) == 2


def test_losses():
    layer = Reporter()
    inputs = torch.full((2, 3), 2.0)
    layer(inputs)
    assert [float(loss) for loss in layer.losses] == [4.0]
    layer.clear_losses()
    assert layer.losses == []
    with pytest.raises(ValueError, match=r"`add_loss` takes scalars. Received: shape \(3,\)"):
        layer.add_loss(torch.zeros(3))


def test_losses_of_inner_layers_and_regularizers():
    outer = layers.Layer()
    outer.inner = [Reporter(), Scale(), layers.Dense(1, activity_regularizer="l2")]
    outer.build(None)
    inputs = torch.ones(2, 3)
    for layer in outer.inner:
        layer(inputs)
    outer.inner[1].shift.assign(torch.ones(3))
    assert len(outer.losses) == 3
    assert float(outer.losses[0]) == 1.0
    assert float(outer.losses[2].detach()) == pytest.approx(0.03)
    outer.inner[1].trainable = False
    assert len(outer.losses) == 2


def test_shape_inference_by_trial_leaves_no_trace():
    layer = Reporter()
    assert layer.compute_output_shape((None, 3)) == (None, 3)
    assert layer.losses == []
    assert not layer.training


def test_shape_inference_of_a_custom_layer(block):
    assert block.compute_output_shape((None, 3)) == (None, 2)
    assert block(Input((3,))).shape == (None, 2)
    assert layers.Lambda(lambda x: x.flatten(1)).compute_output_shape((None, None, 3)) == (None, None)
    with pytest.raises(ValueError, match="cannot take inputs of shape"):
        block.compute_output_shape((None, 7))


def test_call_is_required():
    with pytest.raises(NotImplementedError, match=r"does not define `call"):
        layers.Layer()(torch.zeros(1))


def test_automatic_names():
    assert [layers.Conv2D(1, 1).name, layers.Conv2D(1, 1).name, Scale().name] == ["conv2d", "conv2d_1", "scale"]


def test_config_of_a_custom_layer():
    layer = Scale(start=3.0, name="mine")
    layer.build((None, 4))
    config = layer.get_config()
    assert (config["start"], config["name"], config["trainable"]) == (3.0, "mine", True)
    restored = deserialize_keras_object(serialize_keras_object(layer))
    assert restored.start == 3.0
    assert restored.shift.shape == (4,)


def test_config_without_stored_argument_is_explained():
    class Forgetful(layers.Layer):
        def __init__(self, size, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(NotImplementedError, match=r"does not keep its argument `size`.*Set `self.size = size`"):
        Forgetful(3).get_config()


def test_hooks():
    layer = layers.Dense(2)
    seen = []
    layer.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    layer.register_forward_hook(lambda module, args, output: output * 0)
    assert not layer(torch.ones(2, 3)).any()
    assert seen == [(2, 3)]
    layer(torch.ones(4, 3))
    assert seen == [(2, 3), (4, 3)]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(3, activation="relu", activity_regularizer="l2"), (2, 4)),
        (layers.Conv2D(3, 3, padding="same"), (2, 5, 5, 2)),
        (layers.Dropout(0.5, seed=3), (2, 4)),
        (Scale(), (2, 4)),
        (Block(), (2, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else None,
)
def test_copies(layer, shape, duplicate):
    inputs = torch.randn(shape)
    layer(inputs)
    twin = duplicate(layer)
    assert [getattr(w, "path", "") for w in twin.weights] == [getattr(w, "path", "") for w in layer.weights]
    assert [w.stride() for w in twin.weights] == [w.stride() for w in layer.weights]
    assert not twin._losses
    assert torch.equal(twin(inputs, training=True), layer(inputs, training=True))
    with torch.no_grad():
        for weight in twin.trainable_weights:
            weight.add_(1)
    assert all(not torch.equal(a, b) for a, b in zip(twin.trainable_weights, layer.trainable_weights, strict=True))


def test_conversion_of_the_number_type(block):
    block.to(torch.float64)
    assert block.first.kernel.dtype is torch.float64
    assert block.first.dtype == block.first.compute_dtype == "float64"
    assert block.by_name["scale"].calls.dtype is torch.int64
    assert block(torch.ones(2, 3)).dtype is torch.float64
    assert block.first.kernel is block.weights[0]


def test_memory_order_survives_conversion():
    layer = layers.Conv2D(4, 3)
    layer.build((None, 8, 8, 2))
    for changed in (layer, layer.double(), copy.deepcopy(layer)):
        assert changed.kernel.permute(3, 2, 0, 1).is_contiguous(memory_format=torch.channels_last)
    layer(torch.ones(1, 8, 8, 2)).sum().backward()
    assert layer.kernel.grad.stride() == layer.kernel.stride()


def test_setting_weights():
    layer = layers.Dense(2, name="mine")
    with pytest.raises(ValueError, match=r"has 0 weights and needs as many values. Received: 1.* It is not built yet"):
        layer.set_weights([np.zeros(2)])
    layer.build((None, 3))
    kernel, bias = np.arange(6.0).reshape(3, 2), np.ones(2)
    layer.set_weights([kernel, bias])
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)
    with pytest.raises(ValueError, match=r"has 2 weights and needs as many values. Received: 1"):
        layer.set_weights([kernel])
    with pytest.raises(ValueError, match=r"weight 'mine/bias' has shape \(2,\). Received: a value of shape \(3,\)"):
        layer.set_weights([kernel + 1, np.ones(3)])
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)  # nothing was written
    layer.get_weights()[0][:] = 7
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)  # they are copies


def test_weights_of_half_precision_are_arrays_too():
    layer = layers.Dense(2, dtype="bfloat16")
    layer.build((None, 3))
    assert layer.get_weights()[0].dtype == np.float32


def test_counting_needs_weights():
    with pytest.raises(ValueError, match="has no weights yet"):
        layers.Dense(2).count_params()


def test_constraints_and_regularizers_stay_with_the_weight():
    layer = layers.Dense(2, kernel_regularizer="l2", kernel_constraint="non_neg")
    layer.build((None, 3))
    assert layer.kernel.constraint(torch.tensor([-1.0])).tolist() == [0.0]
    assert layer.bias.regularizer is None
    assert len(layer.losses) == 1


def test_declared_input_shape():
    assert layers.Dense(2, input_shape=(3,)).declared_input_shape == (None, 3)
    assert layers.Dense(2, input_dim=3).declared_input_shape == (None, 3)
    assert layers.Dense(2, batch_input_shape=(8, 3)).declared_input_shape == (8, 3)
    assert layers.Dense(2).declared_input_shape is None


def test_torch_functions_transform_layers():
    """`torch.func` sees a layer as any other module."""
    layer = layers.Dense(2)
    layer.build((None, 3))
    parameters = {name: torch.zeros_like(value) for name, value in layer.named_parameters()}
    outputs = torch.func.functional_call(layer, parameters, (torch.ones(4, 3),))
    assert not outputs.any()


def test_repr_shows_the_arguments():
    text = repr(layers.Dense(3, activation="relu", name="mine"))
    assert all(part in text for part in ("Dense(", "name='mine'", "units=3", "activation=relu"))


def test_symbolic_tensors_hold_no_numbers():
    symbol = Input((3,))
    with pytest.raises(TypeError, match="holds no numbers"):
        np.asarray(symbol)
    assert symbol.ndim == 2


def test_layers_in_private_and_nested_containers_are_children():
    class Nested(layers.Layer):
        def __init__(self):
            super().__init__()
            self._blocks = [layers.Dense(2)]
            self.pairs = [[layers.Dense(2), layers.Dense(2)], {"last": triarch.Variable(torch.ones(3), name="w")}]

        def call(self, inputs):
            return self.pairs[0][1](self.pairs[0][0](self._blocks[0](inputs)))

    layer = Nested()
    layer(torch.ones(1, 2))
    assert len(layer.trainable_weights) == 7
    assert set(layer.state_dict()) == {
        *("_blocks.0.kernel", "_blocks.0.bias", "pairs.1.last"),
        *(f"pairs.0.{index}.{name}" for index in (0, 1) for name in ("kernel", "bias")),
    }


def test_what_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"takes tensors or arrays.*Received: \[\[1"):
        layers.Dense(2)([[1.0, 2.0]])


class Containers(layers.Layer):
    """Weights in a list, in a dict of tuples and as an attribute."""

    def build(self, input_shape):
        size = input_shape[-1]
        self.kernels = [self.add_weight((size, size), name="first"), self.add_weight((size, size), name="second")]
        self.shifts = {"own": (self.add_weight((size,), initializer="ones", name="shift"),)}
        self.scale = self.add_weight((size,), initializer="ones", name="scale")

    def call(self, inputs):
        hidden = inputs @ self.kernels[0] @ self.kernels[1]
        return torch.addcmul(self.shifts["own"][0], hidden, self.scale)


class Sum(layers.Layer):
    """Sums tensors given in a list, and one given by keyword."""

    def build(self, *shapes):
        self.scale = self.add_weight((), initializer="ones", name="scale")

    def call(self, inputs, *, extra=None):
        self.seen = {value.dtype for value in [*inputs, extra]}
        return torch.stack([*inputs, extra]).sum(0) @ torch.eye(3, dtype=self.scale.dtype)


def test_mixed_precision_casts_weights_in_containers():
    layer = Containers(dtype="mixed_bfloat16")
    outputs = layer(torch.ones(2, 3))
    assert outputs.dtype is torch.bfloat16
    outputs.float().sum().backward()
    assert all(weight.dtype is torch.float32 and weight.grad is not None for weight in layer.weights)
    assert layer.kernels[0] is layer.weights[1]
    assert isinstance(layer.shifts["own"], tuple)


def test_casts_reach_lists_and_keywords():
    layer = Sum(dtype="mixed_bfloat16")
    inputs = torch.ones(2, 3)
    assert layer([inputs, inputs.double()], extra=inputs).dtype is torch.bfloat16
    assert layer.seen == {torch.bfloat16}
    layer = Sum(autocast=False)
    with pytest.raises(RuntimeError, match="dtype"):
        layer([inputs, inputs], extra=inputs.double())


def test_integers_are_not_cast():
    class Reader(layers.Layer):
        def call(self, inputs, places):
            return inputs["values"][places["at"]]

    values, places = torch.arange(3.0, dtype=torch.float64), torch.tensor([2, 0])
    assert Reader()({"values": values}, {"at": places}).tolist() == [2.0, 0.0]
    assert Reader()({"values": values}, {"at": places}).dtype is torch.float32


def test_device_is_that_of_the_weights():
    layer = layers.Dense(2)
    assert layer.device == triarch.config.device()
    layer.build((None, 3))
    layer.to("meta")
    assert layer.device == torch.device("meta")
    assert layer(np.ones((4, 3))).device == torch.device("meta")
    outer = layers.Layer()
    outer.inner = [layer]
    assert outer.device == torch.device("meta")


def test_shapes_are_found_on_the_device_of_new_weights(monkeypatch):
    class Inner(layers.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight((input_shape[-1], 2), initializer="zeros", name="kernel")

        def call(self, inputs):
            return inputs @ self.kernel

    monkeypatch.setattr(triarch.config, "device", lambda: torch.device("meta"))

    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def call(self, inputs):
            return self.inner(inputs)

    layer = Outer()
    assert layer.compute_output_shape((None, 3)) == (None, 2)
    assert layer.inner.kernel.device == torch.device("meta")


def test_a_call_from_outside_starts_the_collection_of_losses_anew():
    layer = Reporter()
    for _ in range(3):
        layer(torch.ones(2))
    assert len(layer.losses) == 1

    class Twice(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Reporter()

        def call(self, inputs):
            return self.inner(self.inner(inputs))

    outer = Twice()
    for _ in range(3):
        outer(torch.ones(2))
    assert len(outer.losses) == 2
    outer.compute_output_shape((None, 3))
    assert len(outer.losses) == 2  # a trial run takes nothing away either
    outer.inner(torch.ones(2))
    assert len(outer.losses) == 1


def test_the_collection_starts_anew_after_an_error():
    class Failing(Reporter):
        def call(self, inputs):
            return super().call(inputs) / self.divisor

    layer = Failing()
    with pytest.raises(AttributeError, match="divisor"):
        layer(torch.ones(2))
    layer.divisor = 1
    layer(torch.ones(2))
    layer(torch.ones(2))
    assert len(layer.losses) == 1


def test_a_layer_is_compiled_without_a_break():
    inner = layers.Dense(3, activation="softmax")
    inner.build((None, 4))
    explained = torch._dynamo.explain(inner)(torch.ones(2, 4))
    assert explained.graph_break_count == 0


def test_an_array_as_initializer():
    class Fixed(layers.Layer):
        def build(self, input_shape):
            self.table = self.add_weight((2,), initializer=np.array([0.0, 0.0]), name="table")
            self.other = self.add_weight(initializer=torch.tensor([1.0, 2.0, 3.0]), name="other")

    layer = Fixed()
    layer.build((None, 3))
    assert [weight.tolist() for weight in layer.get_weights()] == [[0, 0], [1, 2, 3]]


def test_arguments_of_distributed_weights():
    layer = layers.Layer()
    assert layer.add_weight((2,), aggregation="none", overwrite_with_gradient=False, name="w").shape == (2,)
    for wrong in ({"aggregation": "mean"}, {"overwrite_with_gradient": True}):
        with pytest.raises(ValueError, match=r"A weight has one copy.*Received: aggregation="):
            layer.add_weight((2,), **wrong)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda n: layers.RepeatVector(n), (2, 5)),
        (lambda n: layers.Reshape((n, 1)), (2, 3)),
        (lambda n: layers.Permute((n - 1, n - 2)), (2, 3, 4)),
        (lambda n: layers.Dense(n), (2, 5)),
        (lambda n: layers.Conv1D(n, n), (2, 5, 1)),
        (lambda n: layers.Softmax(n - 2), (2, 5)),
        (lambda n: layers.PReLU(shared_axes=n - 2), (2, 5)),
        (lambda n: layers.Dropout(0.5, noise_shape=(None, n)), (2, 3)),
    ],
)
def test_numpy_integers_count_as_integers(make, shape):
    inputs = torch.ones(shape)
    numpy, plain = make(np.int64(3)), make(3)
    assert numpy(inputs, training=True).shape == plain(inputs, training=True).shape
    configs = [serialize_keras_object(layer) for layer in (numpy, plain)]
    for config in configs:
        config["config"].pop("name")
    assert json.dumps(configs[0]) == json.dumps(configs[1])


@pytest.mark.parametrize("wrong", [True, 2.0, 0, "2"])
@pytest.mark.parametrize("make", [layers.RepeatVector, layers.Dense])
def test_what_is_no_count_is_refused(make, wrong):
    with pytest.raises(ValueError, match=r"must be a positive integer. Received: (n|units)="):
        make(wrong)


def test_an_unhashable_activation():
    class Doubling:
        __hash__ = None

        def __call__(self, inputs):
            return 2 * inputs

    layer = layers.Dense(2, activation=Doubling(), kernel_initializer="ones")
    assert layer(torch.ones(1, 3)).tolist() == [[6, 6]]


def test_attributes_with_keras_names():
    class Counting(layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = triarch.metrics.Mean()
            self.others = [triarch.metrics.Sum()]
            self.inner = layers.Dense(2)

    layer = Counting()
    assert layer.metrics == [layer.mean, layer.others[0]]
    assert layer.inner.metrics == []
    assert (layer.path, layer.supports_masking, layer.input_spec) == (None, False, None)
    layer.supports_masking, layer.input_spec = True, "anything"
    assert (layer.supports_masking, layer.input_spec) == (True, "anything")
    layer.inner.build((None, 3))
    assert layer.inner.path == layer.inner.name
    assert layer.inner.kernel.path == f"{layer.inner.path}/kernel"


def test_a_lambda_may_know_masks():
    layer = layers.Lambda(lambda x, mask: x * mask)
    assert layer(torch.ones(2), mask=torch.tensor([0.0, 1.0])).tolist() == [0, 1]


def test_the_policy_of_all_layers(keras):
    assert triarch.config.dtype_policy() == triarch.DTypePolicy("float32")
    for name in ("mixed_bfloat16", "mixed_float16", "float64", "bfloat16"):
        triarch.config.set_dtype_policy(name)
        ours, theirs = layers.Dense(1), keras.layers.Dense(1, dtype=name)
        assert (ours.compute_dtype, ours.variable_dtype) == (theirs.compute_dtype, theirs.variable_dtype)
        assert ours.dtype_policy is triarch.config.dtype_policy() is triarch.mixed_precision.dtype_policy()
        assert ours.dtype_policy.get_config() == theirs.dtype_policy.get_config()
        assert repr(ours.dtype_policy) == f"DTypePolicy(name={name!r})"
    triarch.config.set_dtype_policy(torch.float16)
    assert layers.Dense(1).dtype == "float16"
    with pytest.raises(ValueError, match=r"or a policy: mixed_float16, mixed_bfloat16. Received: 'mixed_int8'"):
        triarch.config.set_dtype_policy("mixed_int8")
