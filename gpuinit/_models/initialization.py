"""`initialize`: all parameters of a model, each by its rule and from the stream of its name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpuinit._contract.arguments import attribute, is_a, short_repr
from gpuinit._contract.generator import Generator
from gpuinit._models.report import Report
from gpuinit._models.steps import Progress, carry_out, check_prefix, keep_frozen, parse_dtype, plan, root_of
from gpuinit._rules.collector import paused_collector
from gpuinit._rules.matching import choose_initializers, matches, warn_of_unused
from gpuinit._rules.modules import join
from gpuinit._rules.parameters import Param, find_leaves, make_parameters
from gpuinit._rules.plans import Plans
from gpuinit._rules.ties import Ties, check_tied
from gpuinit._rules.torch_layers import torch_defaults, warn_of_own_initializations


def initialize(
    model: Any,
    rules: Any = None,
    *,
    seed: int | Generator,
    dtype: Any = None,
    progress: Progress = None,
    prefix: str = "",
    tied: Mapping[str, str] | None = None,
    buffers: bool = False,
    frozen: bool = False,
) -> Report:
    """Fill all parameters of a model in place, each from the stream of its name.

    A parameter's values depend on the seed, its name, its shape, its dtype and its rule alone: other layers, their order, the
    device and sharding have no influence on them. All arguments are checked before anything is written, and on a GPU small
    arrays share launches.

    Parameters
    ----------
    model : mapping, torch.nn.Module, or object with `named_parameters()`
        A mapping of names to arrays of any kind that the initializers take. Mappings and lists may be nested, and hold modules;
        names are then joined by dots. What wrappers add to names is left out (``_orig_mod``, ``module`` of
        DistributedDataParallel ...). A tied parameter is filled once, and all its names must fall under the same initializer.
        A weight that a parametrization computes (`torch.nn.utils.parametrizations`) is filled as the layer sees it.
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
        in its dtype.
    progress : bool or callable, optional
        True shows a bar on stderr, where that is a terminal and rich is installed; a callable is called with each name when its
        parameter is done.
    prefix : str, optional
        The name of `model` in a larger one, of which it then gets the values: ``"layers.1"`` for that model's ``layers[1]``.
    tied : mapping of str to str, optional
        Of tied parameters, names to the names whose streams they take, as ``{"head.weight": "embed.weight"}``. By default a tied
        parameter's stream is that of its first name in the order of code points, which is the one that a file of
        `safetensors.torch.save_model` has. One of the two names may be that of a part which `model` lacks.
    buffers : bool, optional
        Whether the rules are for the buffers of modules too. Otherwise these are left alone, and the report lists them.
    frozen : bool, optional
        Whether the rules are for parameters with ``requires_grad=False`` too. Otherwise these are left alone, without a rule, and
        the report lists them.

    Returns
    -------
    Report
        What was done, and what was left alone; it measures when it is first looked at.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, no rule matches some parameters (ten are named), the names of a tied parameter fall under
        different initializers, or an initializer cannot fill its parameter; if a callable returns another array, or writes
        nothing to a tensor of torch. Only errors about callables can come after something was written.

    Warns
    -----
    UserWarning
        Without `prefix`, if a rule matches nothing and is not of a ready-made set; without rules, if a module's class that is
        not torch's has an initialization of its own (`init_weights`, `_init_weights`, `reset_parameters` ...), which is not
        called; if a model of Hugging Face's declares weights to be tied that are not.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"embedding": np.empty((1000, 64)), "head": {"weight": np.empty((10, 64)), "bias": np.empty(10)}}
    >>> report = gi.initialize(model, [("*.bias", "zeros_"), ("*", "normal_(std=0.02)")], seed=42)
    >>> report.digest[:16]
    'df54898ffe2bac48'
    """
    root = root_of(seed)
    dtype = None if dtype is None else parse_dtype(dtype)
    prefix = check_prefix(prefix)
    _check_flags(buffers=buffers, frozen=frozen)
    with paused_collector():  # until all but the report is gone again
        return _initialize(model, rules, root, dtype, progress, prefix, check_tied(tied), buffers, frozen)


def _initialize(
    model: Any,
    rules: Any,
    root: Generator,
    dtype: np.dtype[Any] | None,
    progress: Progress,
    prefix: str,
    tied: Ties,
    buffers: bool,
    frozen: bool,
) -> Report:
    """Do what `initialize` does, with checked arguments; warnings are for the code that calls that."""
    leaves = find_leaves(model, prefix)
    left_alone = [leaf.name for leaf in leaves if leaf.is_buffer and not buffers]
    found = make_parameters([leaf for leaf in leaves if buffers or not leaf.is_buffer], tied)
    asked_for = [param for param, _ in found if frozen or not param.frozen]
    initializers, unused = choose_initializers(torch_defaults() if rules is None else rules, asked_for)
    params = [param for param, _ in found]
    choices, generators, plans = iter(initializers), root._spawn_named([param.name for param in params]), Plans()
    steps = [
        plan(param, array, next(choices), generator, plans, dtype) if frozen or not param.frozen else keep_frozen(param, array)
        for (param, array), generator in zip(found, generators, strict=True)
    ]
    _warn_of_broken_ties(model, prefix, params)
    if rules is None:
        warn_of_own_initializations(params, stacklevel=4)
    frozen_ones = [face for param in params if param.frozen for face in param.by_names]
    unused = [rule for rule in unused if not any(matches(rule[0], face) for face in frozen_ones)]
    if not prefix:  # for a part, rules for the whole may be more than it needs
        warn_of_unused(unused, stacklevel=4)
    return carry_out(steps, root, progress, left_alone, unused)


def _warn_of_broken_ties(model: Any, prefix: str, params: list[Param]) -> None:
    """Warn of weights that a model of Hugging Face's declares to be one, and that are not, as after `to_empty`."""
    declared = attribute(model, "all_tied_weights_keys")
    if not declared:
        return
    number_of = {name: number for number, param in enumerate(params) for name in param.names}
    for pair in declared.items() if is_a(declared, Mapping) else ():
        name, other = (join(prefix, name) for name in pair)
        if name in number_of and other in number_of and number_of[name] != number_of[other]:
            warnings.warn(
                f"model declares {name} to be {other}, but they lie apart and get values of their own; tie them first, as "
                "model.tie_weights() does",
                stacklevel=4,
            )


def _check_flags(**flags: Any) -> None:
    for name, value in flags.items():
        if not is_a(value, (bool, np.bool)):
            raise TypeError(f"{name} must be True or False, got {short_repr(value)}")
