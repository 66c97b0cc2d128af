"""The command line: `python -m gpuinit`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gpuinit import __version__
from gpuinit import _console as console
from gpuinit._cli import demo, info, stopping
from gpuinit._cli.demo_models import MODELS
from gpuinit._plot.signals import ACTIVATIONS
from gpuinit._rules.calls import Call, parse_initializer


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "demo":
        return demo.run(arguments.model, arguments.backend, arguments.seed)
    if arguments.command == "init":
        return _init(arguments)
    if arguments.command == "selfcheck":
        from gpuinit._cli import selfcheck

        return selfcheck.run()
    if arguments.command == "plot":
        from gpuinit._cli import plot

        return plot.run(
            arguments.shape, arguments.function, arguments.nonlinearity, arguments.depth, arguments.seed, arguments.output
        )
    return info.run()


def _init(arguments: argparse.Namespace) -> int:
    from gpuinit._cli import init

    if arguments.list:
        return init.show_tensors(arguments.model)
    needed = {"--rules": arguments.rules, "--seed": arguments.seed, "-o/--output": arguments.output}
    if missing := [option for option, value in needed.items() if value is None]:
        arguments.error(f"the following arguments are required: {', '.join(missing)}")
    task = init.Task(arguments.model, arguments.rules, arguments.seed, arguments.output, arguments.json)
    return init.dry_run(task) if arguments.dry_run else init.run(task)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gpuinit",
        description="Neural-network weight initializers that fill NumPy and CuPy arrays: one seed, the same bits everywhere.",
        epilog="example: python -m gpuinit demo --model resnet50",
    )
    parser.add_argument("--version", action="version", version=f"gpuinit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, description: str, example: str) -> argparse.ArgumentParser:
        epilog = f"example: python -m gpuinit {example}"
        return commands.add_parser(name, help=description, description=description, epilog=epilog)

    shown = add(
        "demo", "fill all parameters of a model, and show them, the speed and the digest", "demo --backend cupy --seed 42"
    )
    shown.add_argument("--model", choices=sorted(MODELS), default="gpt2", help="the model (default: %(default)s)")
    shown.add_argument(
        "--backend", choices=demo.BACKENDS, default="auto", help="auto is cupy where it finds a device (default: %(default)s)"
    )
    _add_init(
        add(
            "init",
            "fill the tensors of a safetensors file, or of a folder of them, by rules, and show them and the digest",
            "init model.safetensors --rules rules.toml --seed 42 -o filled.safetensors",
        )
    )
    picture = add(
        "plot",
        "draw a weight beside its density, and the signal through layers that have such weights",
        "plot --shape 512x512 --function \"kaiming_normal_(nonlinearity='relu')\" --depth 30 -o signal.png",
    )
    picture.add_argument(
        "--shape", type=_shape, default=(512, 512), metavar="OUTxIN", help="of the first weight; the next has the transpose's"
    )
    picture.add_argument(
        "--function", type=_function, default="kaiming_normal_", metavar="CALL", help="the initializer (default: %(default)s)"
    )
    picture.add_argument(
        "--nonlinearity", choices=sorted(ACTIVATIONS), default="relu", help="after each layer (default: %(default)s)"
    )
    picture.add_argument("--depth", type=_count, default=30, metavar="N", help="the number of layers (default: %(default)s)")
    picture.add_argument("-o", "--output", default="signal.png", metavar="FILE", help="PNG, SVG or PDF (default: %(default)s)")
    for command in (shown, picture):
        command.add_argument("--seed", type=_seed, default=0, metavar="N", help="an integer >= 0 (default: %(default)s)")
    add("selfcheck", "check that this machine computes the values that it should", "selfcheck")
    add("info", "tell versions and devices, and what is missing", "info")
    return parser


def _add_init(init: argparse.ArgumentParser) -> None:
    init.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="the safetensors file with the names, shapes and dtypes; or a checkpoint's folder, or its index (.json)",
    )
    init.add_argument("--rules", type=Path, metavar="RULES", help="the rules, a TOML file of tables [[rules]]")
    init.add_argument("--seed", type=_seed, metavar="N", help="an integer >= 0")
    init.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="written when all is done: a file, which may be MODEL itself, or for a folder a new one",
    )
    init.add_argument("--json", type=Path, metavar="REPORT", help="a file for the report as JSON")
    only = init.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="check all arguments and print what would be done; write nothing")
    only.add_argument("--list", action="store_true", help="print MODEL's tensors; needs no other argument")
    init.set_defaults(error=init.error)  # --list needs neither rules nor seed nor output, which argparse cannot express


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


def _shape(text: str) -> tuple[int, int]:
    out, _, taken = text.partition("x")
    try:
        return _count(out), _count(taken)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be two integers >= 1, as in 512x512, got {text!r}") from None


def _function(text: str) -> Call:
    try:
        call = parse_initializer(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if type(call) is not Call:
        raise argparse.ArgumentTypeError(f"must be a function of gpuinit, got {text!r}")
    return call


def program() -> NoReturn:
    """Run one command as a process of its own."""
    console.open_streams()
    warnings.formatwarning = console.one_line
    stopping.raise_exits()
    try:
        sys.exit(_run())
    finally:
        stopping.ignore()


def _run() -> int:
    """`main`, for which a stdout that cannot be written is a failure."""
    try:
        code = main()
        sys.stdout.flush()
    except OSError as error:  # of stdout, since a command handles those of its files
        console.discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # `| head` has what it wants
            console.complain("stdout", error)
        return 1
    return code


if __name__ == "__main__":
    program()
