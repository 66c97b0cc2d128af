"""What a fill costs a GPU: SASS instructions per element, counted in compiled code. `python bench/gpu_cost.py --help`.

Needs CuPy with a CUDA device, real or emulated, which gives the kernels' sources and options; NVRTC compiles them for every
architecture, none of which need be there. docs/gpu_cost.md says what is counted, and what follows from it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from report import markdown
from roofs import GPUS, roof
from sass import PIPES, Count, count, find_packaged

from gpuinit._console import progress, table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gpu_cost.md"
ARCHITECTURES = (75, 80, 90, 100, 120)
DTYPES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}  # and their bytes
C_TYPES = {"float32": "float", "float64": "double"}  # CuPy's classes of the 16-bit types have the dtypes' names
BATCHES = ("uniform_batch", "normal_batch", "truncated_batch", "narrow_batch")
KERNELS = ("uniform", "normal", "truncated", "narrow", *BATCHES, "sparse", "constant", "eye", "dirac", "trunc")
MODELLED = KERNELS[:3]
BUDGETS = {  # instructions per element, at most: architecture -> kernel -> dtype
    90: {
        "uniform": {"float16": 27, "bfloat16": 27, "float32": 26, "float64": 62},
        "normal": {"float16": 35, "bfloat16": 35, "float32": 34, "float64": 64},
        "truncated": {"float16": 45, "bfloat16": 45, "float32": 44, "float64": 90},
        "narrow": {"float16": 39, "bfloat16": 39, "float32": 40, "float64": 73},
        "uniform_batch": {"float16": 31, "bfloat16": 31, "float32": 30, "float64": 66},
        "normal_batch": {"float16": 39, "bfloat16": 39, "float32": 38, "float64": 68},
        "truncated_batch": {"float16": 49, "bfloat16": 49, "float32": 48, "float64": 94},
        "narrow_batch": {"float16": 43, "bfloat16": 43, "float32": 44, "float64": 77},
        "sparse": {"float32": 270},
        "constant": {"float32": 14},
        "eye": {"float32": 24},
        "dirac": {"float32": 44},
    },
    100: {"uniform": {"float32": 27}, "normal": {"float32": 35}, "truncated": {"float32": 44}},
}

# With an empty kernel cache, fills small arrays by each kernel; prints what CuPy compiles: {"kernel type": [source, options]}.
RECORD = """
import json, re, sys
import cupy
from cupy.cuda import compiler
import gpuinit

found = {}
compile_program = compiler._NVRTCProgram.compile

def record(self, options=(), log_stream=None):
    kernel, element = (re.search(pattern, self.src) for pattern in (r"void gpuinit_(\\w+)\\(", r"typedef (\\w+) T;"))
    if kernel and element:
        found[f"{kernel[1]} {element[1]}"] = self.src, [option for option in options if not option.startswith("-arch")]
    return compile_program(self, options, log_stream)

compiler._NVRTCProgram.compile = record
for dtype in sys.argv[1:]:
    gpuinit.warmup([dtype])
    gpuinit.trunc_(cupy.zeros(2, gpuinit._contract.dtypes.as_dtype(dtype)))
print(json.dumps(found))
"""

# One call of cuRAND's device API a thread, and one 16-byte store. No bounds, mean or std; the stream begins at `offset`.
CURAND = """
#include <curand_kernel.h>

extern "C" __global__ void curand_fill({vector} *x, unsigned long long n, unsigned long long seed, unsigned long long offset) {{
    const unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    curandStatePhilox4_32_10_t state;
    curand_init(seed, i, {offset}, &state);
    x[i] = {function}(&state);
}}
"""
CURAND_FUNCTIONS = {
    ("uniform", "float32"): ("float4", "curand_uniform4"),
    ("normal", "float32"): ("float4", "curand_normal4"),
    ("uniform", "float64"): ("double2", "curand_uniform2_double"),
    ("normal", "float64"): ("double2", "curand_normal2_double"),
}
CURAND_OFFSETS = {"curand": "0", "curand+offset": "offset"}  # known to the compiler, cuRAND's cheapest case; or an argument


class Program(NamedTuple):
    """A kernel before it is compiled for an architecture."""

    kernel: str
    dtype: str
    source: str
    options: list[str]


class Cost(NamedTuple):
    """A kernel's counts on an architecture."""

    kernel: str
    dtype: str
    architecture: int
    count: Count

    @property
    def elements(self) -> int:
        """That a thread writes."""
        return self.count.stored // DTYPES[self.dtype]

    @property
    def pipes(self) -> dict[str, float]:
        """Instructions per element."""
        return {pipe: number / self.elements for pipe, number in self.count.pipes.items()}

    @property
    def total(self) -> float:
        return sum(self.count.pipes.values()) / self.elements

    @property
    def budget(self) -> int | None:
        return BUDGETS.get(self.architecture, {}).get(self.kernel, {}).get(self.dtype)

    @property
    def excess(self) -> bool:
        return self.budget is not None and self.total > self.budget


def programs(dtypes: Sequence[str]) -> Iterator[Program]:
    """Each kernel as CuPy compiles it for contiguous arrays, and cuRAND's."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "CUPY_CACHE_DIR": cache}
        run = subprocess.run([sys.executable, "-c", RECORD, *dtypes], check=True, env=environment, stdout=subprocess.PIPE)
    found = json.loads(run.stdout)
    for kernel in KERNELS:
        yield from (Program(kernel, dtype, *found[f"{kernel} {C_TYPES.get(dtype, dtype)}"]) for dtype in dtypes)
    # cuRAND's own code may fuse multiplies and adds; its other options are those of a CuPy RawKernel.
    options = [option for option in found[f"uniform {C_TYPES.get(dtypes[0], dtypes[0])}"][1] if not option.startswith("--fmad")]
    options.append(f"-I{find_packaged('nvidia-curand', 'curand_kernel.h').parent}")
    for name, offset in CURAND_OFFSETS.items():
        for (kernel, dtype), (vector, function) in CURAND_FUNCTIONS.items():
            if dtype in dtypes:
                yield Program(f"{name} {kernel}", dtype, CURAND.format(vector=vector, function=function, offset=offset), options)


def costs(architectures: Sequence[int] = ARCHITECTURES, dtypes: Sequence[str] = tuple(DTYPES)) -> list[Cost]:
    """The cost of each kernel and of cuRAND's."""
    found = list(programs(dtypes))
    tasks = [(program, architecture) for architecture in architectures for program in found]
    with progress("Compiling", len(tasks)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:

        def cost(task: tuple[Program, int]) -> Cost:
            (kernel, dtype, source, options), architecture = task
            # trunc_ reads and writes an element a thread, the others store 16 bytes at a time.
            counted = count(source, options, architecture, DTYPES[dtype] if kernel == "trunc" else 16)
            advance(f"{kernel} {dtype} sm_{architecture}")
            return Cost(kernel, dtype, architecture, counted)

        return list(pool.map(cost, tasks))


HEADERS = ("kernel", "dtype", "all", *PIPES, "registers", "spilled")


def cells(c: Cost) -> list[str]:
    """A row of the tables: instructions per element."""
    shown = [f"{c.pipes[pipe]:.1f}" if pipe in c.pipes else "-" for pipe in PIPES]
    return [c.kernel, c.dtype, f"{c.total:.2f}", *shown, str(c.count.registers), str(c.count.spilled)]


def show(found: Sequence[Cost]) -> None:
    """A table for each architecture on stdout."""
    headers = (*HEADERS, "budget")
    for architecture in ARCHITECTURES:
        chosen = [c for c in found if c.architecture == architecture]
        rows = [[*cells(c), "-" if c.budget is None else f"{c.budget}{' exceeded' if c.excess else ''}"] for c in chosen]
        table(f"sm_{architecture}: instructions per element", headers, rows, right=headers[2:])


def tables(found: Sequence[Cost]) -> dict[str, str]:
    """The tables of docs/gpu_cost.md by name."""
    by_key = {(c.kernel, c.dtype, c.architecture): c for c in found}
    named = {(c.kernel, c.dtype): None for c in found}
    totals = [
        [kernel, dtype, *(f"{by_key[kernel, dtype, architecture].total:.1f}" for architecture in ARCHITECTURES)]
        for kernel, dtype in named
    ]
    roofs = []
    for gpu in GPUS:
        for kernel in MODELLED:
            pipes = {dtype: by_key[kernel, dtype, gpu.architecture].pipes for dtype in DTYPES}
            memory, busy, pipe = roof(gpu, pipes["float32"], 4)
            shares = [roof(gpu, pipes[dtype], size).share for dtype, size in DTYPES.items()]
            shares.append(roof(gpu, pipes["float32"], 4, wide=2).share)
            roofs.append([gpu.name, kernel, pipe, f"{memory:.2f}", f"{busy:.2f}", *map("{:.0%}".format, shares)])
    roof_headers = ["GPU", "kernel", "busiest pipe", "memory, clocks", "pipe, clocks", *DTYPES, "float32, wide twice"]
    limits = [
        [f"sm_{architecture}", kernel, *(str(budget.get(dtype, "-")) for dtype in DTYPES)]
        for architecture, kernels in BUDGETS.items()
        for kernel, budget in kernels.items()
    ]
    names = [f"sm_{architecture}" for architecture in ARCHITECTURES]
    return {
        "budgets": markdown(limits, ("architecture", "kernel", *DTYPES), DTYPES),
        "pipes": markdown([cells(c) for c in found if (c.dtype, c.architecture) == ("float32", 90)], HEADERS, HEADERS[2:]),
        "architectures": markdown(totals, ("kernel", "dtype", *names), names),
        "roofs": markdown(roofs, roof_headers, roof_headers[3:]),
    }


def refresh(page: str, found: Sequence[Cost]) -> str:
    """The page with its tables, each below a line `<!-- name -->`, made anew."""
    for name, text in tables(found).items():
        head, rows = re.escape(f"<!-- {name} -->\n\n"), r"(?:\|.*\n)*"
        page, times = re.subn(f"({head}){rows}", lambda match, text=text: f"{match[1]}{text}\n", page)
        assert times == 1, name
    return page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/gpu_cost.py", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write all counts, instructions a thread, to FILE")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a kernel exceeds its budget")
    parser.add_argument("--page", action="store_true", help="write the tables of docs/gpu_cost.md anew")
    options = parser.parse_args(arguments)
    found = costs()
    if options.json:
        counts = [{**c._asdict(), "count": c.count._asdict()} for c in found]
        Path(options.json).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    if options.page:
        PAGE.write_text(refresh(PAGE.read_text("utf-8"), found), encoding="utf-8")
    show(found)
    exceeded = [c for c in found if c.excess]
    for c in exceeded:
        print(f"{c.kernel} {c.dtype} sm_{c.architecture}: {c.total:.2f} instructions an element, not {c.budget}", file=sys.stderr)
    return 1 if options.check and exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
