"""Layers one after the other."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


class Stack(nn.Sequential):
    """`torch.nn.Sequential` for classes with a constructor of their own; arguments as in
    `torch.nn.Sequential`. A slice such as `stem[:2]` is a plain Sequential of the same layers, with
    their weights shared.

    Sequential itself would call the constructor of the class with the layers.
    """

    def __getitem__(self, index):  # an int: the layer; a slice: some of them
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)
