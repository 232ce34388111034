"""What all metrics share: state that stays on the device of the data, and the running mean."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch

from triarch import config, initializers, mixed_precision, registry
from triarch.losses.alignment import (
    align_weight,
    by_element,
    divide_no_nan,
    is_by_element,
    mask_for,
    masked_values,
    product,
    squeeze_or_expand_to_same_rank,
)
from triarch.registry import register
from triarch.serialization import Configurable, deserialize_keras_object, resolve
from triarch.tensors import as_tensor, kept_mask, torch_dtype
from triarch.variable import Variable

FAMILY = "keras.metrics"
FUNCTIONS = "keras.metrics.functions"  # in "keras.metrics" the name of a function means the metric object


@register(FAMILY)
class Metric(Configurable):
    """Base of metrics: a subclass adds variables and defines `update_state(...)` and `result()`.

    Updates never record gradients, and the variables follow the data to their device. Nothing is read on the host until
    somebody reads what `result` gave. What a mask of the predictions leaves out is not counted by this package's
    metrics; an `update_state` of one's own finds it by `triarch.tensors.kept_mask(y_pred)`.
    """

    _direction: ClassVar[str | None] = None  # "up" where more is better, "down" where less is

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or registry.unique_name(registry.to_snake_case(type(self).__name__))
        self.dtype: str = mixed_precision.get(dtype or config.floatx()).compute_dtype
        self._torch_dtype: torch.dtype = torch_dtype(self.dtype)  # type: ignore[assignment]
        self._variables: list[Variable] = []
        self._device = config.device()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update_state" in vars(cls):
            cls.update_state = _on_the_device_of_the_data(cls.update_state)  # type: ignore[method-assign]

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """A variable of the metric's state. `aggregation` is accepted for Keras's sake."""
        if "_variables" not in self.__dict__:
            raise RuntimeError(f"`{type(self).__name__}.__init__` must call `super().__init__()` before all else.")
        made = initializers.get("zeros" if initializer is None else initializer)
        variable = Variable(made, shape=shape, dtype=dtype or config.floatx(), trainable=False, name=name)
        variable.path = f"{self.name}/{variable.name}"
        if variable.device != self._device:
            variable.data = variable.data.to(self._device)
        self._variables.append(variable)
        return variable

    def add_weight(
        self, shape: Sequence[int] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """`add_variable` under its older name."""
        return self.add_variable(shape=shape, initializer=initializer, dtype=dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The variables of this metric, then those of metrics that it holds."""
        found = {id(variable): variable for variable in self._variables}
        for value in self.__dict__.values():
            inner = value.variables if isinstance(value, Metric) else [value] if isinstance(value, Variable) else ()
            found.update((id(variable), variable) for variable in inner)
        return list(found.values())

    def to(self, device: torch.device) -> None:
        """Move the state; the first update with data from another device does it too."""
        self._device = device
        for variable in self.variables:
            variable.data = variable.data.to(device)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define `update_state`.")

    def result(self) -> Any:
        """The metric over all batches since the last reset, a tensor."""
        raise NotImplementedError(f"{type(self).__name__} must define `result(self)`.")

    def reset_state(self) -> None:
        """Set all variables to 0."""
        with torch.no_grad():
            for variable in self.variables:
                variable.zero_()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take in a batch and give the result so far."""
        self.update_state(*args, **kwargs)
        return self.result()


def _on_the_device_of_the_data(update_state: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(update_state)
    def update(self: Metric, *args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.Tensor):
                if value.device != self._device:
                    self.to(value.device)
                break
        if not torch.is_grad_enabled():
            return update_state(self, *args, **kwargs)
        with torch.no_grad():
            return update_state(self, *args, **kwargs)

    return update


def samplewise(
    values: torch.Tensor, sample_weight: Any, reduce: Callable[..., torch.Tensor], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Values weighted, and weights, with all axes after the first reduced."""
    values = values.to(dtype)
    if sample_weight is not None:
        weight = torch.as_tensor(sample_weight, dtype=dtype, device=values.device)
        values, weight = squeeze_or_expand_to_same_rank(values, weight)
        rank = weight.ndim
        if values.ndim > rank:
            values = reduce(values, dim=tuple(range(rank, values.ndim)))
        weight = align_weight(weight, values).expand(values.shape)
        values = values * weight
        sample_weight = reduce(weight, dim=tuple(range(1, rank))) if rank > 1 else weight
    if values.ndim > 1:
        values = reduce(values, dim=tuple(range(1, values.ndim)))
    return values, sample_weight


@register(FAMILY)
class Sum(Metric):
    """The (weighted) sum of the values."""

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), dtype=self.dtype, name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values; weights have their shape or that of their first axes."""
        values = as_tensor(values, device=self._device)
        if sample_weight is not None:
            values, _ = samplewise(values, sample_weight, torch.sum, self._torch_dtype)
        self.total.add_(values.sum())

    def result(self) -> torch.Tensor:
        """The sum."""
        return self.total.detach().clone()


@register(FAMILY)
class Mean(Metric):
    """The (weighted) mean of the values; each sample counts once, whatever its other axes."""

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), dtype=self.dtype, name="total")
        self.count = self.add_variable((), dtype=self.dtype, name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take in values; weights have their shape or that of their first axes."""
        values = as_tensor(values, device=self._device)
        if sample_weight is None:
            if values.ndim > 1:
                values = values.to(self._torch_dtype).mean(dim=tuple(range(1, values.ndim)))
            self.total.add_(values.sum(dtype=self._torch_dtype) if values.ndim else values)
            self.count.add_(values.shape[0] if values.ndim else 1)
            return
        if values.ndim == 0 and isinstance(sample_weight, (int, float)):  # the loss of a batch, at every step
            self.total.add_(values, alpha=sample_weight)
            self.count.add_(sample_weight)
            return
        values, weight = samplewise(values, sample_weight, torch.mean, self._torch_dtype)
        self.total.add_(values.sum())
        self.count.add_(weight.sum())  # type: ignore[union-attr]

    def _count_in(self, values: torch.Tensor, sample_weight: Any, mask: torch.Tensor | None) -> None:
        """Take in values of which only those count that `mask` names, however many there are of a sample."""
        mask = kept_mask(values) if mask is None else mask
        if mask is None or not values.ndim:
            Mean.update_state(self, values, sample_weight)
            return
        if sample_weight is not None:
            sample_weight = torch.as_tensor(sample_weight, dtype=self._torch_dtype, device=values.device)
        weight = product(mask.to(self._torch_dtype), sample_weight)
        values, weight = squeeze_or_expand_to_same_rank(values.to(self._torch_dtype), weight)
        if values.ndim > weight.ndim:
            values = values.mean(dim=tuple(range(weight.ndim, values.ndim)))
        weight = align_weight(weight, values).expand(values.shape)
        self.total.add_((values * weight).masked_fill(weight == 0, 0).sum())
        self.count.add_(weight.sum())

    def result(self) -> torch.Tensor:
        """The mean, 0 before the first value."""
        return divide_no_nan(self.total.detach(), self.count.detach())


@register(FAMILY)
class MeanMetricWrapper(Mean):
    """The mean of a function `fn(y_true, y_pred, **kwargs)` that gives a value for each sample."""

    def __init__(
        self, fn: Callable[..., torch.Tensor], name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name, dtype)
        self.fn = fn
        self._fn_kwargs = kwargs
        home = registry.home_of(fn)
        if self._direction is None and home is not None and home[0] == "keras.losses":
            self._direction = "down"  # type: ignore[misc]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Take in a batch. A mask that `y_pred` carries leaves elements out."""
        mask, axis = kept_mask(y_pred), self._fn_kwargs.get("axis", -1)
        mask = None if mask is None else mask_for(y_pred, mask)
        weight = None if sample_weight is None else as_tensor(sample_weight, device=self._device)
        if is_by_element(self.fn, axis, y_pred, weight, mask) or self._has_row(y_pred):
            y_true, y_pred = by_element(y_true, y_pred)
        if mask is None:
            values = self.fn(y_true, y_pred, **self._fn_kwargs)
        else:
            fn = functools.partial(self.fn, **self._fn_kwargs)
            values, mask = masked_values(fn, self.fn, y_true, y_pred, mask, axis)
        self._count_in(as_tensor(values), weight, mask)

    def _has_row(self, y_pred: Any) -> bool:
        """Whether predictions are one number a sample, `(batch,)`, so that their mean would hide how many they are."""
        return isinstance(y_pred, torch.Tensor) and y_pred.ndim == 1 and getattr(self.fn, "is_elementwise", False)

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        arguments = dict(super()._arguments())
        yield from arguments.items()
        if "fn" in arguments:
            yield from self._fn_kwargs.items()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Make the metric that `get_config` described."""
        arguments = deserialize_keras_object(dict(config))
        if isinstance(arguments.get("fn"), str):
            arguments["fn"] = find_function(arguments["fn"])
        return cls(**arguments)


def find_function(name: str) -> Any:
    """The metric or loss function of this name."""
    return registry.find(FUNCTIONS, name) or resolve("keras.losses", name)


class FunctionMetric(MeanMetricWrapper):
    """The mean of one of this package's functions without further arguments, the class's `function`."""

    function: ClassVar[Callable[..., torch.Tensor]]

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(type(self).function, name or registry.to_snake_case(type(self).__name__), dtype)
