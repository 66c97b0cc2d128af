"""Threads whose floating-point mode is not the standard one: they get the same values, keep their mode, and poison no cache."""

from __future__ import annotations

import platform

import pytest

from tests.support.programs import run

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the modes of other systems are not known here",
)

# The modes, and fills that their arithmetic would show in: parameters, what is computed of them, and values.
MODES = """
import ctypes, hashlib, platform, sys, warnings
library = ctypes.CDLL(None)
ON_X86 = platform.machine() == "x86_64"
ROUNDINGS = {"upward": 0x800, "downward": 0x400, "to zero": 0xC00} if ON_X86 else {
    "upward": 0x400000, "downward": 0x800000, "to zero": 0xC00000}
PLACE, FLUSH = (28, 0x8040) if ON_X86 else (0, 1 << 24)  # of MXCSR or FPCR in fenv_t

def flag(bits, clear=0):
    environment = ctypes.create_string_buffer(256)
    library.fegetenv(environment)
    word = int.from_bytes(environment[PLACE : PLACE + 4], "little") & ~clear | bits
    environment[PLACE : PLACE + 4] = word.to_bytes(4, "little")
    library.fesetenv(environment)

def set_mode(mode):
    flag(0, clear=FLUSH)
    library.fesetround(0)
    if mode == "flush to zero":
        flag(FLUSH)
    elif mode == "torch's":
        import torch
        torch.set_flush_denormal(True)
    elif mode != "standard":
        library.fesetround(ROUNDINGS[mode])

# Computed in the standard mode.
TINY, LESS, TENTH = 2.0**-1022, 1e-310, 0.1
FRACTIONS = [(a / 10, b / 30) for a, b in ((1, 2), (3, 1), (7, 9))]
CUT = [(a, b, a - b, a + 3 * b) for a, b in FRACTIONS]
TINIEST32 = np.float32(1e-40)

def signature():
    flushes = TINY * float("0.5") == 0
    return flushes, 1 + 2.0 ** int("-60") > 1, 1 - 2.0 ** int("-60") < 1, -1 - 2.0 ** int("-60") < -1

def new(dtype, *shape):
    return np.empty(shape or (5, 7), dtype)

def samples():
    for dtype in (np.float32, np.float64, np.float16, ">f4", np.complex64):
        for a, b in FRACTIONS:
            yield gi.normal_(new(dtype), a, b, generator=1)
            yield gi.uniform_(new(dtype), -a, b, generator=1)
            yield gi.xavier_uniform_(new(dtype), a, generator=1)
            yield gi.kaiming_normal_(new(dtype), b, nonlinearity="leaky_relu", generator=1)
            yield gi.constant_(new(dtype), a)
            yield gi.constant_(new(dtype), b)
        yield gi.constant_(new(dtype), 2**11 + 1)
    for dtype in (np.float32, np.float64, np.float16):
        for cut in CUT:
            yield gi.trunc_normal_(new(dtype), *cut, generator=1)
        for a, b in FRACTIONS:
            yield gi.variance_scaling_(new(dtype), b, "fan_avg", generator=1)
        yield gi.lecun_normal_(new(dtype), generator=1)
        yield gi.sparse_(new(dtype), TENTH, generator=1)
    yield gi.sparse_(new(np.float32, 10, 3), 0.3, generator=1)
    yield gi.uniform_(new(np.float32), 0, 1e-38, generator=1)
    yield gi.normal_(new(np.float32), 0, 1e-39, generator=1)
    yield gi.normal_(new(np.float32), TINIEST32, 0, generator=1)
    yield gi.normal_(new(np.float32)[:, ::2], 0, TINIEST32, generator=1)
    yield gi.trunc_normal_(new(np.float32), 0, 1e-39, -1e-39, 2e-39, generator=1)
    yield gi.constant_(new(np.float32), TINIEST32)
    yield gi.constant_(new(np.float32), 1e-40)
    yield gi.constant_(new(np.float16), 1e-7)
    yield gi.constant_(new(np.float32), 2**24 + 1)
    yield gi.constant_(new(np.float64), 2**54 + 3)
    yield gi.uniform_(new(np.float64), 0, LESS, generator=1)
    yield gi.uniform_(new(np.float64), 0, 0.0, generator=1)
    yield gi.normal_(new(np.float64), 0, LESS, generator=1)
    yield gi.normal_(new(np.float64), 0, 0.0, generator=1)
    yield gi.xavier_normal_(new(np.float64), LESS, generator=1)
    yield np.array([gi.calculate_gain("leaky_relu", b) for _, b in FRACTIONS])
    model = {"w": new(np.float32), "v": new(np.float32)}
    widths = gi.rules.by_param(lambda param: f"normal_(std={param.shape[-1]} / 3 / sqrt(5))")
    gi.initialize(model, [("w", widths), ("v", "uniform_(a=-1/3, b=1e-1)")], seed=1, dtype="float64")
    yield from model.values()
    # Of more than one piece, for threads.
    yield gi.uniform_(new(np.float32, 400, 500), 0, 1e-38, generator=1)
    yield gi.normal_(new(np.float16, 400, 500), 0, TENTH, generator=1)
    yield gi.trunc_normal_(new(np.float64, 400, 500), *CUT[0], generator=1)

def digests():
    return [hashlib.sha256(x.tobytes()).hexdigest() for x in samples()]
"""
NAMES = ["flush to zero", "upward", "downward", "to zero"]


@pytest.fixture(scope="module")
def expected():
    return run(f"{MODES}\nprint(*digests())").split()


@pytest.mark.parametrize(
    ("mode", "compiled"),
    [
        *((mode, compiled) for mode in NAMES for compiled in (True, False)),
        pytest.param("torch's", True, marks=pytest.mark.torch),
    ],
)
def test_no_mode_changes_a_value(mode, compiled, expected):
    """The caches are filled in that mode, then used in the standard one, and the other way round; the mode stays."""
    if mode == "torch's":
        pytest.importorskip("torch")
    program = f"""{MODES}
if sys.argv[2] == "False":
    from gpuinit._backends.host import compiled
    compiled.library = compiled.repeat = lambda: None
gi.rules
set_mode(sys.argv[1])
of_mode = signature()
cold = digests()
assert signature() == of_mode, "the mode is another"
gi.set_num_threads(1)
warm = digests()
set_mode("standard")
gi.set_num_threads(4)
after = digests()
print(cold == warm == after or [number for number, row in enumerate(zip(cold, warm, after)) if len(set(row)) > 1])
print(of_mode != signature())
print(*after)
"""
    same, differs, found = run(program, mode, str(compiled)).splitlines()
    assert same == "True", same
    assert differs == "True"
    assert [number for number, row in enumerate(zip(found.split(), expected, strict=True)) if len(set(row)) > 1] == []


def test_where_the_mode_cannot_be_set_a_fill_is_refused():
    """Nothing is written, and no block drawn."""
    run(f"""{MODES}
from gpuinit._contract import arithmetic
arithmetic.sys = type("Other", (), {{"platform": "other"}})
x, generator = np.full((10, 7), 7, np.float32), gi.Generator(1)
fills = [
    lambda: gi.normal_(x, 0, TENTH, generator=generator),
    lambda: gi.xavier_uniform_(x, generator=generator),
    lambda: gi.sparse_(x, TENTH, generator=generator),
    lambda: gi.constant_(x, TENTH),
]
for mode in {NAMES}:
    for fill in fills:
        set_mode(mode)
        try:
            fill()
        except RuntimeError as error:
            set_mode("standard")
            assert "flushes subnormal numbers to zero or does not round to nearest" in str(error)
        else:
            raise AssertionError(mode)
        assert (x == 7).all() and generator.position == 0
    """)
