"""Write `gpuinit/_contract/data/golden.json` from NumPy fills. Only a new version of the contract on values changes it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np

from gpuinit import CONTRACT_VERSION, Generator, digest
from gpuinit._cli.golden import PATH, fill, load, normals_of

EIGHT_BITS = ("float8_e4m3fn", "float8_e5m2")
# Sets of dtypes, one after the other in the file: a new one leaves the cases of the others as they are.
DTYPES = (("float16", "float32", "float64"), ("bfloat16", "complex64", "complex128"), EIGHT_BITS)
SHAPES = ([], [9], [3, 5], [2, 3, 4, 5])
MATRICES = ([4, 9], [33, 7])
FILLS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "uniform_": (SHAPES + ([257, 401],), [{}, {"a": -0.1, "b": 0.1}, {"a": 3.0, "b": 1000.0}, {"a": 0.5, "b": 0.5}]),
    "normal_": (SHAPES + ([257, 401],), [{}, {"mean": 0.5, "std": 0.02}, {"std": 1e-5}, {"std": 0.0}]),
    "trunc_normal_": (
        SHAPES + ([257, 401],),
        [
            {},
            {"std": 0.02, "a": -0.04, "b": 0.04},
            {"a": 3.0, "b": 4.0},
            {"a": -9.0, "b": -3.0},
            {"a": 5.0, "b": "inf"},
            {"mean": 2.0, "a": "-inf", "b": 1.0},
            {"a": 10.0, "b": 11.0},
            {"a": -1e-3, "b": 2e-3},
            {"mean": -3.0, "std": 0.5, "a": 0.0, "b": 1e-3},
        ],
    ),
    "xavier_uniform_": (MATRICES, [{}, {"gain": 5 / 3}]),
    "xavier_normal_": (MATRICES, [{}, {"gain": 0.0}]),
    "kaiming_uniform_": (MATRICES, [{}, {"a": 0.2, "mode": "fan_out"}]),
    "kaiming_normal_": (MATRICES, [{}, {"nonlinearity": "selu"}]),
    "lecun_uniform_": (MATRICES, [{}]),
    "lecun_normal_": (MATRICES, [{}]),
    "variance_scaling_": (
        MATRICES,
        [{"scale": 2.0, "mode": "fan_avg", "distribution": kind} for kind in ("truncated_normal", "normal", "uniform")],
    ),
    "sparse_": (
        (*MATRICES, [300, 5], [1, 3]),
        [{"sparsity": 0.0}, {"sparsity": 0.1}, {"sparsity": 0.5, "std": 1.0}, {"sparsity": 1.0}],
    ),
    "embedding_": (MATRICES, [{"padding_idx": 0}, {"std": 0.02, "padding_idx": -2}]),
}
EXPERTS = {"batch_axis": 0, "out_axis": 1, "in_axis": 2}
OF_AXES: list[tuple[str, tuple[Any, list[dict[str, Any]]]]] = [
    ("xavier_uniform_", (([6, 4, 3], [4, 6, 5]), [EXPERTS, {"in_axis": -2, "out_axis": -1}, {"groups": 2}])),
    ("kaiming_normal_", (([10, 7], [10, 3, 2]), [{"parts": [6, 2, 2], "mode": "fan_out"}, {"parts": 5, "fan_in": 7.0}])),
    ("variance_scaling_", (([4, 9],), [{"mode": "fan_geo_avg", "distribution": "uniform"}])),
]
TOLERANCES = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-14}


def is_truncated(name: str, parameters: dict[str, Any]) -> bool:
    """Whether a case is one of the truncated forms, which complex arrays do not have."""
    return name in ("trunc_normal_", "lecun_normal_") or parameters.get("distribution") == "truncated_normal"


def is_held(dtype: str, name: str, parameters: dict[str, Any]) -> bool:
    """Whether a dtype has what a case asks for."""
    if dtype.startswith("complex"):
        return not is_truncated(name, parameters)
    return not (dtype == "float8_e4m3fn" and parameters.get("b") == 1000)


def cases(dtypes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every function with its dtypes, shapes and parameters, at places all over the stream."""
    places = itertools.cycle([(42, 0), (2**100 + 7, 5), (0, 2**40 + 3), (12345, 2**63)])
    return [
        {"function": name, "parameters": parameters, "dtype": dtype, "shape": shape, "seed": seed, "position": position}
        for name, (shapes, settings) in (*FILLS.items(), *OF_AXES)
        for (dtype, shape, parameters), (seed, position) in zip(itertools.product(dtypes, shapes, settings), places)
        if is_held(dtype, name, parameters)
    ]


def orthogonal_cases(stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Q is that of the stored case where what this machine's BLAS makes of it is within the tolerance."""
    found = []
    for dtype, shape, gain in itertools.product(DTYPES[0], ([4, 4], [5, 3], [3, 5], [1, 1]), (1.0, -2.5)):
        case = {
            "function": "orthogonal_",
            "parameters": {"gain": gain},
            "dtype": dtype,
            "shape": shape,
            "seed": 42,
            "position": 3,
        }
        drawn = {"digest": digest({"x": normals_of(case, np)}), "tolerance": abs(gain) * TOLERANCES[dtype]}
        q = fill(case, np)
        kept = [np.array(other["q"]) for other in stored if all(other[key] == value for key, value in case.items())]
        agreed = next((other for other in kept if np.abs(q - other).max() <= drawn["tolerance"]), q)
        found.append({**case, **drawn, "q": agreed.tolist()})
    return found


def children() -> list[dict[str, Any]]:
    chosen: list[dict[str, Any]] = [{"seed": 42, "number": n} for n in (0, 1, 9)]
    chosen += [{"seed": seed, "name": name} for seed in (42, 2**100 + 7) for name in ("encoder.weight", "", "\u00e9", "e\u0301")]
    for case in chosen:
        parent = Generator(case["seed"])
        child = parent.spawn(case["name"]) if "name" in case else parent.spawn(case["number"] + 1)[-1]
        case["key"] = [str(word) for word in child.reserve(0).key]  # text: JSON readers round large numbers
    return chosen


def main() -> None:
    content = {
        "version": CONTRACT_VERSION,
        "fills": [{**case, "digest": digest({"x": fill(case, np)})} for dtypes in DTYPES for case in cases(dtypes)],
        "orthogonal": orthogonal_cases(load()["orthogonal"]),
        "children": children(),
    }
    lists = ((key, ",\n".join(json.dumps(case) for case in rows)) for key, rows in content.items() if key != "version")
    body = ",\n".join(f'"{key}": [\n{rows}\n]' for key, rows in lists)
    PATH.write_text(f'{{\n"version": {CONTRACT_VERSION},\n{body}\n}}\n', "utf-8")


if __name__ == "__main__":
    main()
