"""Recurrent layers over whole sequences: RNN, LSTM, GRU. The cells are in ``rnn_cells.py``."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
import numbers
import warnings
from typing import Any, ClassVar

from .. import _vf, init
from .._base import _C, Tensor
from ..module import Module
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .rnn_cells import GRUCell, LSTMCell, RNNCell, RNNCellBase

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """Weights, checks and states that all recurrent layers share.

    Args:
        input_size, hidden_size: features of input and state.
        num_layers: stacked layers.
        bias: biases of both products.
        batch_first: ``(N, L, F)`` instead of ``(L, N, F)``.
        dropout: probability on the outputs of all layers but the last.
        bidirectional: a second direction, its output beside the first's.
        proj_size: LSTM only: size to which the hidden state is projected.
    """

    __constants__: ClassVar[list[str]] = [
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]
    __jit_unused_properties__: ClassVar[list[str]] = ["all_weights"]

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last "
                "recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={num_layers}",
                stacklevel=3,
            )
        for name, value, kind in (
            ("bias", bias, bool),
            ("batch_first", batch_first, bool),
            ("input_size", input_size, int),
            ("hidden_size", hidden_size, int),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
            if kind is int and value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        directions = 2 if bidirectional else 1
        out = proj_size if proj_size > 0 else hidden_size
        gates = _GATES[mode] * hidden_size
        how: dict[str, Any] = {"device": device, "dtype": dtype}
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for direction in range(directions):
                end = f"_l{layer}" + ("_reverse" if direction else "")
                size = input_size if layer == 0 else out * directions
                shapes = {"weight_ih": (gates, size), "weight_hh": (gates, out)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}  # type: ignore[dict-item]
                if proj_size > 0:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, name + end, Parameter(_C.empty(shape, **how)))
                self._all_weights.append([name + end for name in shapes])
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self.reset_parameters()

    @property
    def _flat_weights(self) -> list[Any]:
        own = self.__dict__
        return [own[name] if name in own else getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters, one list per layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Does nothing: the engine packs weights itself."""

    def reset_parameters(self) -> None:
        """Draws all parameters, in order, from U(±1/√hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raises unless the input fits."""
        weight_dtype = getattr(self, self._flat_weights_names[0]).dtype
        if input.dtype != weight_dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight_dtype}). "
                f"Convert input: input.to({weight_dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if self.input_size != input.shape[-1]:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )

    def _state_size(self, input: Tensor, batch_sizes: Tensor | None, size: int) -> tuple[int, int, int]:
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.shape[0] if self.batch_first else input.shape[1]
        return self.num_layers * (2 if self.bidirectional else 1), batch, size

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """``(layers * directions, batch, features)`` of the hidden state."""
        return self._state_size(input, batch_sizes, self.proj_size if self.proj_size > 0 else self.hidden_size)

    def check_hidden_size(
        self, hx: Tensor, expected: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raises unless a state has the expected size."""
        if tuple(hx.shape) != tuple(expected):
            raise RuntimeError(msg.format(expected, list(hx.shape)))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raises unless input and state fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The state's batch in the order of ``permutation``."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def _zero_state(self, input: Tensor, batch: int, size: int) -> Tensor:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        return _C.zeros((layers, batch, size), dtype=input.dtype)

    def _unpack_input(self, input: Any) -> tuple[Any, Any, Any, Any, bool]:
        """``(data, batch_sizes, sorted_indices, unsorted_indices, is_batched)`` of a tensor or packed sequence."""
        if isinstance(input, PackedSequence):
            return input.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices, True
        if input.dim() not in (2, 3):
            kind = type(self).__name__ if self.mode in ("LSTM", "GRU") else "RNN"
            tensor = " tensor" if kind == "RNN" else ""
            raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {input.dim()}D{tensor} instead")
        batched = input.dim() == 3
        return (
            (input if batched else input.unsqueeze(0 if self.batch_first else 1)),
            None,
            None,
            None,
            batched,
        )

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            s += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            s += f", num_layers={self.num_layers}"
        if self.bias is not True:
            s += f", bias={self.bias}"
        if self.batch_first is not False:
            s += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            s += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            s += f", bidirectional={self.bidirectional}"
        return s


class _OneState(RNNBase):
    """The forward of RNN and GRU, which carry one state."""

    def _kernel(self) -> Any:
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Runs a sequence ``(L, N, F)`` (batch first, unbatched or packed likewise).

        Args:
            hx: first state ``(layers * directions, N, H)``; zeros by default.

        Returns:
            The outputs ``(L, N, directions * H)`` and the last state.
        """
        data, batch_sizes, sorted_indices, unsorted_indices, batched = self._unpack_input(input)
        if batch_sizes is None and hx is not None:
            if not batched:
                if hx.dim() != 2:
                    raise RuntimeError(f"For unbatched 2-D input, hx should also be 2-D but got {hx.dim()}-D tensor")
                hx = hx.unsqueeze(1)
            elif hx.dim() != 3:
                raise RuntimeError(f"For batched 3-D input, hx should also be 3-D but got {hx.dim()}-D tensor")
        if hx is None:
            self.check_input(data, batch_sizes)
            batch = self.get_expected_hidden_size(data, batch_sizes)[1]
            hx = self._zero_state(data, batch, self.hidden_size)
        else:
            hx = self.permute_hidden(hx, sorted_indices)
            self.check_forward_args(data, hx, batch_sizes)
        kernel = self._kernel()
        if batch_sizes is None:
            output, hidden = kernel(
                data, hx, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
                self.bidirectional, self.batch_first,
            )  # fmt: skip
            if not batched:
                return output.squeeze(0 if self.batch_first else 1), hidden.squeeze(1)
            return output, hidden
        output, hidden = kernel(
            data, batch_sizes, hx, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
            self.bidirectional,
        )  # fmt: skip
        packed = PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices)
        return packed, self.permute_hidden(hidden, unsorted_indices)


class RNN(_OneState):
    """``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`` over a sequence; ``nonlinearity='relu'`` likewise.

    Arguments as :class:`RNNBase`'s, with ``nonlinearity`` after ``num_layers``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            self_nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            self_nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self_nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{self_nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__("RNN_TANH" if self_nonlinearity == "tanh" else "RNN_RELU", *args, **kwargs)
        self.nonlinearity = self_nonlinearity

    def _kernel(self) -> Any:
        return _vf.rnn_tanh if self.mode == "RNN_TANH" else _vf.rnn_relu


class GRU(_OneState):
    """Gated recurrent units over a sequence; gates stacked reset, update, new. Arguments as :class:`RNNBase`'s."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def _kernel(self) -> Any:
        return _vf.gru


class LSTM(RNNBase):
    """Long short-term memory over a sequence; gates stacked input, forget, cell, output.

    Arguments as :class:`RNNBase`'s.

    Example::

        lstm = nn.LSTM(10, 20, 2, batch_first=True)
        out, (h, c) = lstm(rnn_input)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """``(layers * directions, batch, hidden_size)`` of the cell state."""
        return self._state_size(input, batch_sizes, self.hidden_size)

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        self.check_hidden_size(
            hidden[0], self.get_expected_hidden_size(input, batch_sizes), "Expected hidden[0] size {}, got {}"
        )
        self.check_hidden_size(
            hidden[1], self.get_expected_cell_size(input, batch_sizes), "Expected hidden[1] size {}, got {}"
        )

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        if permutation is None:
            return hx
        return hx[0].index_select(1, permutation), hx[1].index_select(1, permutation)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Runs a sequence ``(L, N, F)`` (batch first, unbatched or packed likewise).

        Args:
            hx: ``(h_0, c_0)``; zeros by default.

        Returns:
            The outputs ``(L, N, directions * H)`` and ``(h_n, c_n)``.
        """
        data, batch_sizes, sorted_indices, unsorted_indices, batched = self._unpack_input(input)
        if batch_sizes is None and hx is not None:
            dims = f"({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
            if batched and (hx[0].dim() != 3 or hx[1].dim() != 3):
                raise RuntimeError(f"For batched 3-D input, hx and cx should also be 3-D but got {dims}")
            if not batched:
                if hx[0].dim() != 2 or hx[1].dim() != 2:
                    raise RuntimeError(f"For unbatched 2-D input, hx and cx should also be 2-D but got {dims}")
                hx = (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        if hx is None:
            self.check_input(data, batch_sizes)
            batch = self.get_expected_hidden_size(data, batch_sizes)[1]
            size = self.proj_size if self.proj_size > 0 else self.hidden_size
            hx = (self._zero_state(data, batch, size), self._zero_state(data, batch, self.hidden_size))
        else:
            # The states must fit the input before they are permuted with it.
            self.check_forward_args(data, hx, batch_sizes)
            hx = self.permute_hidden(hx, sorted_indices)
        if batch_sizes is None:
            output, h, c = _vf.lstm(
                data, hx, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
                self.bidirectional, self.batch_first,
            )  # fmt: skip
            if not batched:
                return output.squeeze(0 if self.batch_first else 1), (h.squeeze(1), c.squeeze(1))
            return output, (h, c)
        output, h, c = _vf.lstm(
            data, batch_sizes, hx, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
            self.bidirectional,
        )  # fmt: skip
        packed = PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices)
        return packed, self.permute_hidden((h, c), unsorted_indices)
