"""The report of `gpuinit.initialize`: expected and measured standard deviations, digests, and the forms it takes."""

from __future__ import annotations

import html
import json
import math

import numpy as np
import pytest

import gpuinit as gi


def report_of(shape, initializer, xp=np, dtype=np.float32, name="w"):
    return gi.initialize({name: xp.empty(shape, dtype)}, [("*", initializer)], seed=42)


STDS = [
    ("uniform_(a=-1, b=3)", (300, 300), 4 / 12**0.5),
    ("normal_(mean=5, std=0.02)", (300, 300), 0.02),
    ("trunc_normal_", (300, 300), 0.87962566103423978),
    ("trunc_normal_(a=3, b=inf)", (300, 300), 0.26563),
    ("constant_(val=3)", (30, 30), 0.0),
    ("eye_", (40, 20), (1 / 40 * (1 - 1 / 40)) ** 0.5),
    ("dirac_", (12, 4, 3), (1 / 36 * (1 - 1 / 36)) ** 0.5),
    ("dirac_(groups=3)", (12, 4, 3), (1 / 12 * (1 - 1 / 12)) ** 0.5),
    ("xavier_normal_(gain=2)", (200, 400), 2 * (2 / 600) ** 0.5),
    ("kaiming_uniform_(nonlinearity='relu')", (200, 400), (2 / 400) ** 0.5),
    ("lecun_normal_", (200, 400), 400**-0.5),
    ("variance_scaling_(scale=2, mode='fan_avg', distribution='uniform')", (200, 400), (2 / 300) ** 0.5),
    ("orthogonal_(gain=3)", (80, 160), 3 / 160**0.5),
    ("orthogonal_", (160, 80), 1 / 160**0.5),
    ("sparse_(sparsity=0.25, std=2)", (400, 200), 2 * 0.75**0.5),
    ("embedding_(std=2, padding_idx=1)", (4, 20000), 2 * 0.75**0.5),
]


COMPLEX = [
    ("uniform_(a=-1, b=3)", (300, 300), 2**0.5 * 4 / 12**0.5),
    ("normal_(mean=5+1j, std=0.02)", (300, 300), 0.02),
    ("kaiming_uniform_(nonlinearity='relu')", (200, 400), (2 / 400) ** 0.5),
    ("orthogonal_(gain=3)", (80, 160), 3 / 160**0.5),
    ("sparse_(sparsity=0.25, std=2)", (400, 200), 2 * 0.75**0.5),
]


@pytest.mark.parametrize(
    ("initializer", "shape", "std", "dtype"),
    [(*case, dtype) for case in STDS for dtype in (np.float32, np.float64)] + [(*case, np.complex64) for case in COMPLEX],
)
def test_expected_and_measured_std(initializer, shape, std, dtype):
    row = report_of(shape, initializer, dtype=dtype).rows[0]
    assert row.expected_std == pytest.approx(std, rel=2e-5)
    assert row.std == pytest.approx(row.expected_std, rel=0.02)


def test_backends_report_the_same(xp):
    ours, theirs = report_of((50, 30), "normal_", xp), report_of((50, 30), "normal_")
    assert (ours.digest, ours.rows, str(ours)) == (theirs.digest, theirs.rows, str(theirs))


def test_what_is_not_exact_or_not_filled_lies_apart():
    arrays = {"b": np.empty((5, 5)), "q": np.empty((5, 5)), "kept": np.zeros(3), "a": np.empty(4)}
    report = gi.initialize(arrays, [("q", "orthogonal_"), ("kept", "keep"), ("*", "normal_")], seed=1)
    assert report.apart == ["q", "kept"]
    assert report.digest == gi.digest({"a": arrays["a"], "b": arrays["b"]})
    assert [row.digest for row in report.rows] == [gi.digest(arrays[n]) if n != "kept" else "" for n in arrays]
    assert report.summary().endswith("; apart from it: q, kept")


def test_a_callable_that_draws_an_orthogonal_matrix_lies_apart():
    arrays = {"q": np.empty((5, 5)), "n": np.empty(5)}
    report = gi.initialize(
        arrays, [("q", lambda x, g, p: gi.orthogonal_(x, generator=g)), ("n", lambda x, g, p: gi.normal_(x, generator=g))], seed=1
    )
    assert report.apart == ["q"]


def test_json():
    report = gi.initialize({"w": np.empty((3, 2)), "kept": np.zeros(3)}, [("w", "ones_"), ("*", "keep")], seed=9)
    content = json.loads(report.to_json())
    assert content == {
        "contract_version": gi.CONTRACT_VERSION,
        "seed": 9,
        "spawn_key": [],
        "digest": gi.digest({"w": np.ones((3, 2))}),
        "recipe": report.recipe,
        "apart": ["kept"],
        "unverified": ["kept"],
        "frozen": [],
        "buffers": [],
        "written": [],
        "untouched": [],
        "mended": [],
        "unused": [],
        "parameters": [
            {
                "name": "w",
                "shape": [3, 2],
                "dtype": "float64",
                "initializer": "ones_()",
                "expected_std": 0.0,
                "std": 0.0,
                "digest": gi.digest(np.ones((3, 2))),
            },
            {
                "name": "kept",
                "shape": [3],
                "dtype": "float64",
                "initializer": "keep",
                "expected_std": None,
                "std": None,
                "digest": "",
            },
        ],
    }


@pytest.mark.parametrize(
    ("initializer", "dtype", "std"),
    [
        ("constant_(val=nan)", "float32", None),
        ("constant_(val=inf)", "float64", None),
        ("normal_(std=1e5)", "float16", None),
        ("uniform_(a=-8e307, b=8e307)", "float64", None),
        ("constant_(val=0.1)", "float64", 0),
        ("normal_(mean=1e8, std=0.01)", "float64", 0.01),
        ("normal_(mean=1e6+2e6j, std=0.01)", "complex128", 0.01),
    ],
)
def test_deviations_that_are_hard_to_measure(initializer, dtype, std):
    report = report_of((100, 100), initializer, dtype=dtype)
    row = json.loads(report.to_json(), parse_constant=pytest.fail)["parameters"][0]
    assert row["std"] == (std if std is None else pytest.approx(std, rel=0.03))


@pytest.mark.parametrize("initializer", ["normal_(mean=1e8, std=0.01)", "constant_(val=0.1)"])
def test_deviations_of_several_pieces(initializer):
    x = np.empty((5, 2**19))
    std = gi.initialize({"w": x}, [("*", initializer)], seed=1).rows[0].std
    assert std == (0 if "constant" in initializer else pytest.approx(float((x - 1e8).std()), rel=1e-12))


def test_a_callable_named_keep_is_no_keep():
    def keep(x, generator, param):
        gi.ones_(x)

    report = report_of((3,), keep)
    assert (report.apart, report.rows[0].digest) == ([], gi.digest(np.ones(3, np.float32)))


def test_the_seed_is_that_of_the_time():
    generator = gi.Generator(42).spawn("run")
    before = generator.state["spawn_key"]
    report = gi.initialize({"w": np.empty(3)}, [("*", "normal_")], seed=generator)
    generator.manual_seed(7)
    content = json.loads(report.to_json())
    assert (report.seed, content["seed"], content["spawn_key"]) == (42, 42, before)


def test_text_and_html():
    report = report_of((4, 3), "constant_(val=2)", name="<w>")
    lines = str(report).splitlines()
    assert lines[0].split() == ["parameter", "shape", "dtype", "initializer", "expected", "std", "std", "digest"]
    assert lines[2].split() == ["<w>", "4x3", "float32", "constant_(val=2)", "0", "0", report.rows[0].digest[:12]]
    assert lines[-1] == f"1 parameters, 12 elements, seed 42, digest {report.digest}"
    text = report._repr_html_()
    assert "<w>" not in text
    assert html.escape("<w>") in text
    assert repr(report) == "<gpuinit.Report of 1 parameters, seed=42>"


def test_empty_models_and_parameters():
    report = gi.initialize({}, [("*", "normal_")], seed=0)
    assert (report.rows, report.digest) == ([], "")
    assert str(report).endswith(f"0 parameters, 0 elements, seed 0, digest {report.digest}")
    row = report_of((0, 3), "normal_").rows[0]
    assert math.isnan(row.expected_std)
    assert math.isnan(row.std)
