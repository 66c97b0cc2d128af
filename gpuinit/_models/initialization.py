"""`initialize`: all parameters of a model, each by its rule and from the stream of its name."""

from __future__ import annotations

from typing import Any

from gpuinit._contract.generator import Generator
from gpuinit._models.report import Report
from gpuinit._models.steps import Progress, carry_out, parse_dtype, plan, root_of
from gpuinit._rules.matching import choose_initializers, warn_of_unused
from gpuinit._rules.parameters import find_parameters
from gpuinit._rules.torch_layers import torch_defaults, warn_of_own_initializations


def initialize(model: Any, rules: Any = None, *, seed: int | Generator, dtype: Any = None, progress: Progress = None) -> Report:
    """Fill all parameters of a model in place, each from the stream of its name.

    A parameter's values depend on the seed, its name, its shape, its dtype and its rule alone: other layers, their order, the
    device and sharding have no influence on them. All arguments are checked before anything is written, and on a GPU small
    arrays share launches.

    Parameters
    ----------
    model : mapping, torch.nn.Module, or object with `named_parameters()`
        A mapping of names to arrays of any kind that the initializers take. Mappings and lists may be nested, and hold modules;
        names are then joined by dots. Tied parameters are filled once, by the name that comes first.
    rules : list of (pattern, initializer), or mapping of patterns to initializers, optional
        The first rule whose pattern matches counts; `rules.torch_defaults()` if None. A pattern is a glob on the name
        (``"*.bias"``; ``*`` passes dots), a compiled regular expression that must match the whole name, a module's class or its
        name (``"Embedding"``, ``"Linear.bias"``; a subclass counts too). An initializer is a function of this library, or of
        `torch.nn.init`, which stands for the one of its name here, `functools.partial` of one, a string
        (``"kaiming_normal_(mode='fan_out')"``), `rules.keep` or ``"keep"`` to leave the parameter as it is, what `rules.by_param`
        makes, or any callable, which is called with the array, the generator and the `Param`, and fills the array.
    seed : int or Generator
        The parameter `name` is filled from ``Generator(seed).spawn(name)``; a generator's own position stays as it is.
    dtype : dtype, optional
        The floating dtype in which values are drawn, to be rounded once to the parameter's own; None draws in each parameter's.
        With it, models of different dtypes get the same values but for rounding. Callables are given the array itself, and draw
        in its dtype; so do embeddings with a `padding_idx` in `rules.torch_defaults`.
    progress : bool or callable, optional
        True shows a bar on stderr, where that is a terminal and rich is installed; a callable is called with each name when its
        parameter is done.

    Returns
    -------
    Report
        What was done; it measures when it is first looked at.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, no rule matches some parameters (ten are named), or an initializer cannot fill its
        parameter; if a callable returns another array, or writes nothing to a tensor of torch. Only errors about callables can
        come after something was written.

    Warns
    -----
    UserWarning
        If a rule matches nothing and is not of a ready-made set; without rules, if a module's class that is not torch's has an
        initialization of its own (`init_weights`, `_init_weights`, `reset_parameters` ...), which is not called.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"embedding": np.empty((1000, 64)), "head": {"weight": np.empty((10, 64)), "bias": np.empty(10)}}
    >>> report = gi.initialize(model, [("*.bias", "zeros_"), ("*", "normal_(std=0.02)")], seed=42)
    >>> report.digest[:16]
    '7fd9e0f0612cab86'
    """
    root = root_of(seed)
    dtype = None if dtype is None else parse_dtype(dtype)
    found = find_parameters(model)
    params = [param for param, _ in found]
    choices, unused = choose_initializers(torch_defaults() if rules is None else rules, params)
    steps = [plan(param, array, choice, root, dtype) for (param, array), choice in zip(found, choices, strict=True)]
    if rules is None:
        warn_of_own_initializations(params)
    warn_of_unused(unused)
    return carry_out(steps, root, progress, unused=unused)
