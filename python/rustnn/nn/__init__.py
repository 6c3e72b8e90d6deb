"""Neural-network modules (``torch.nn``)."""
from .module import Module
from .parameter import Parameter, Buffer, UninitializedParameter, UninitializedBuffer
