"""The weights of layers as torch's `state_dict` shows and takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from triarch.layers.mirrors import Mirror
from triarch.tensors import value_for


class Stateful(torch.nn.Module):
    """A module whose state is shown in contiguous tensors, and is taken whole or not at all."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[arg-type]
        for name, tensor in _own(self):
            if not keep_vars and not tensor.is_contiguous():
                destination[prefix + name] = Mirror.of(tensor.detach())

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        assigns = local_metadata.get("assign_to_params_buffers", False)
        own = {prefix + name: tensor for name, tensor in _own(self)}
        for key, tensor in own.items():
            try:
                value = _value(tensor, state_dict.get(key), key, assigns)
            except ValueError as error:
                error_msgs.append(f"{error}.")
                continue
            if value is not None:
                state_dict[key] = value
                if assigns and not tensor.is_meta:  # it stays what it is to optimizers and lists
                    tensor.data = value
        if assigns and not any(tensor.is_meta for tensor in own.values()):
            local_metadata = {**local_metadata, "assign_to_params_buffers": False}
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def get_submodule(self, target: str) -> torch.nn.Module:
        """The module at a path of `named_modules`, whatever else of the class has its name (`input`, `output`)."""
        module: torch.nn.Module | None = self
        for name in target.split(".") if target else ():
            module = None if module is None else module._modules.get(name)
        return super().get_submodule(target) if module is None else module

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take the weights of a `state_dict`: all of them, or, where there is an error, none.

        Args:
            strict: Whether the names must be the same.
            assign: Whether to take over the tensors themselves, with their types.

        Raises:
            RuntimeError: Names, shapes or kinds of numbers are not those of this module.
        """
        before = None if self._fits(state_dict, assign) else [_Kept(module, assign) for module in self.modules()]
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except BaseException:
            for module in before or ():
                module.put_back()
            raise

    def _fits(self, state_dict: Any, assign: bool) -> bool:
        """Whether nothing can go wrong: names, shapes and numbers are right, and no hook looks at them."""
        if not isinstance(state_dict, Mapping) or any(module._load_state_dict_pre_hooks for module in self.modules()):
            return False
        own = torch.nn.Module.state_dict(self, keep_vars=True)
        try:
            return own.keys() == state_dict.keys() and all(
                isinstance(tensor, torch.Tensor) and _value(tensor, state_dict[key], key, assign) is not None
                for key, tensor in own.items()
            )
        except ValueError:
            return False


def _own(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that are in the state of a module itself."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            yield name, buffer


def _value(tensor: torch.Tensor, value: Any, key: str, assigns: bool) -> torch.Tensor | None:
    """What `tensor` is to become; None where torch refuses it, or there is nothing."""
    if not isinstance(value, torch.Tensor) or value.shape != tensor.shape:
        return None
    if not assigns:
        return value_for(tensor, value, f"{key!r}")
    if (value.is_complex(), value.is_floating_point()) != (tensor.is_complex(), tensor.is_floating_point()):
        raise ValueError(f"{key!r} is of type {tensor.dtype}. Received: a value of type {value.dtype}")
    return (value.clone() if isinstance(value, Mirror) or value.is_inference() else value).detach()


class _Kept:
    """The tensors of a module, to be put back."""

    def __init__(self, module: torch.nn.Module, assigns: bool) -> None:
        self._registered = [(table, dict(table)) for table in (module._parameters, module._buffers)]
        tensors = [tensor for _, entries in self._registered for tensor in entries.values() if tensor is not None]
        self._data = [(tensor, tensor.data, None if assigns else tensor.detach().clone()) for tensor in tensors]

    def put_back(self) -> None:
        """Let the tensors be what and where they were."""
        for table, entries in self._registered:
            table.clear()
            table.update(entries)
        with torch.no_grad():
            for tensor, data, numbers in self._data:
                tensor.data = data
                if numbers is not None:
                    tensor.copy_(numbers)
