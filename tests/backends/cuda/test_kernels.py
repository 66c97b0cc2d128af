"""The kernels as the compiler sees them, for every architecture that NVRTC knows: no device is needed for that, CuPy is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from gpuinit._backends import kernel_sources
from tests.support.arrays import cupy_or_skip

KERNEL = re.compile(r"void (gpuinit_\w+)\(")


# Compiles with an empty kernel cache, and prints the source and the options of each program.
RECORD = """
import json
import cupy
from cupy.cuda import compiler
import gpuinit
from gpuinit._contract.dtypes import as_dtype

found = []
compile_program = compiler._NVRTCProgram.compile

def record(self, options=(), log_stream=None):
    found.append((self.src, options))
    return compile_program(self, options, log_stream)

compiler._NVRTCProgram.compile = record
dtypes = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
gpuinit.warmup(dtypes)
for dtype in dtypes:
    x = cupy.empty((6, 6), as_dtype(dtype))[::2, ::2]
    gpuinit.uniform_(x, generator=0)
    gpuinit.normal_(x, generator=0)
    if not dtype.startswith("complex"):
        gpuinit.trunc_normal_(x, generator=0)
        gpuinit.trunc_normal_(x, a=-0.001, b=0.001, generator=0)
        gpuinit.trunc_(x)
    for array, axes in ((cupy.empty((4, 2, 2), as_dtype(dtype)), 3), (x, 2)):
        shard = gpuinit.Shard((9,) * axes, (*(slice(2, 2 + length) for length in array.shape),))
        gpuinit.uniform_(array, generator=0, shard=shard)
        gpuinit.normal_(array, generator=0, shard=shard)
        if not dtype.startswith("complex"):
            gpuinit.trunc_normal_(array, generator=0, shard=shard)
            gpuinit.trunc_normal_(array, a=-0.001, b=0.001, generator=0, shard=shard)
        (gpuinit.eye_ if axes == 2 else gpuinit.dirac_)(array, shard=shard)
    gpuinit.sparse_(x, 0.5, generator=0, shard=shard)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Source and options of every gpuinit kernel that CuPy compiles for a warm-up, for strided arrays and for shards."""
    cupy_or_skip()
    environment = {**os.environ, "CUPY_CACHE_DIR": str(tmp_path_factory.mktemp("kernels"))}
    run = subprocess.run([sys.executable, "-c", RECORD], check=True, env=environment, stdout=subprocess.PIPE)
    return [(source, options) for source, options in json.loads(run.stdout) if KERNEL.search(source)]


def compiled(source, options, architecture):
    """PTX and the log of ptxas for one architecture."""
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(source, "kernel.cu", (), ())
    try:
        kept = [option for option in options if not option.startswith("-arch")]
        nvrtc.compileProgram(program, [*kept, f"-arch=sm_{architecture}", "--ptxas-options=-v"])
        ptx, log = nvrtc.getPTX(program), nvrtc.getProgramLog(program)
    finally:
        nvrtc.destroyProgram(program)
    return (ptx.decode() if isinstance(ptx, bytes) else ptx), log


@pytest.mark.gpu
def test_every_kernel_was_found(programs):
    names = {KERNEL.search(source)[1] for source, _ in programs}
    fills = {"uniform", "normal", "truncated", "narrow", "sparse", "constant", "eye", "dirac", "trunc"}
    of_shards = {f"{name}_shard" for name in fills - {"constant", "trunc"}}
    of_batches = {f"{name}_batch" for name in ("uniform", "normal", "truncated", "narrow", "constant")}
    others = {"upper", "squares", "reflectors", "orthogonal"}
    assert names == {f"gpuinit_{name}" for name in fills | of_shards | of_batches | others}


FORBIDDEN = {
    "an approximate instruction": r"\.approx|\.full",
    "a flush of subnormals": r"\.ftz",
    "a fused multiply-add": r"\bfma\.",
    "an operation that may be fused": r"\b(add|sub|mul)\.f(16|32|64)\b",
    "local memory": r"\.local",
}


@pytest.mark.gpu
@pytest.mark.slow
def test_every_architecture_compiles_exactly(programs):
    """No approximate instruction, none that flushes subnormals, no fused or fusible multiply-add, no spill."""
    from cupy_backends.cuda.libs import nvrtc

    for source, options in programs:
        name = KERNEL.search(source)[1]
        for architecture in nvrtc.getSupportedArchs():
            ptx, log = compiled(source, options, architecture)
            found = [what for what, pattern in FORBIDDEN.items() if re.search(pattern, ptx)]
            assert not found, (name, architecture)
            assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in log, (name, architecture, log)


@pytest.mark.gpu
def test_the_emulated_device_found_nothing_inexact(programs, tmp_path):
    """A fresh process fills with every kernel; its log has no approximate or fused instruction of ours."""
    pytest.importorskip("cudasim")
    log = tmp_path / "trace"
    code = "import gpuinit; gpuinit.warmup(('float16', 'float32', 'float64'))"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "CUDASIM_TRACE": str(log)})
    lines = log.read_text().splitlines()
    assert any(line.startswith("launch name=gpuinit_normal") for line in lines)
    suspicious = [line for line in lines if re.match(r"(approx|contracted|contractable|unspecified|fault) kernel=gpuinit_", line)]
    assert not suspicious


def test_a_header_brings_what_it_includes_once():
    headers = list(kernel_sources.folder().glob("*.cuh"))
    assert len(headers) > 10
    for header in headers:
        text = kernel_sources.source("ieee.cuh", header.name)
        assert "#include" not in text
        assert text.count("using u32 = unsigned int;") == 1
