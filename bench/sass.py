"""The machine code of a CUDA kernel: NVRTC compiles it, nvdisasm prints it, and what a thread executes is counted by pipe."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# The first pattern that an opcode begins with names its pipe. "integer" is all the rest: the ALU's work, with moves and selects.
PIPES = {
    "uniform": r"U|S2UR|R2UR|VOTEU|REDUX",  # the datapath that works once a warp
    "fp64": r"D(ADD|MUL|FMA|SETP|MNMX)",
    "fp32": r"F(ADD|MUL|FMA|FMA2|SEL|SETP|SET|MNMX|CHK|SWZADD)|HFMA2|HADD2|HMUL2",
    "convert64": r"(I2F|F2I|F2F|FRND)(\.\w+)*\.[USF]64",
    "convert": r"I2F|F2I|F2F|I2I|FRND|MUFU|F2IP|I2IP",
    "wide": r"IMAD\.(WIDE|HI)",  # 32 by 32 to 64 bits
    "imad": r"IMAD|IDP|IMUL",  # moves that ptxas gives to this pipe among them
    "memory": r"LD|ST|ATOM|RED|CCTL|MEMBAR|S2R",  # loads of parameters among them
    "branch": r"BRA|BRX|JMP|EXIT|RET|CALL|BSSY|BSYNC|BREAK|BMOV|WARPSYNC|NOP|YIELD|BAR|DEPBAR",
    "integer": r"",
}
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?P<guard>@!?U?P\w+ +)?(?P<opcode>[A-Z][\w.]*)\s*(?P<operands>[^;]*);")
LABEL = re.compile(r"^(\.L_x_\w+):")
TARGET = re.compile(r"`\((\.L_x_\w+)\)")
JUMPS = ("BRA", "BRX", "JMP", "CALL", "RET", "EXIT")


class Instruction(NamedTuple):
    """A line of SASS."""

    guard: str
    opcode: str
    operands: str

    @property
    def kind(self) -> str:
        return self.opcode.partition(".")[0]

    @property
    def pipe(self) -> str:
        return next(pipe for pipe, pattern in PIPES.items() if re.match(pattern, self.opcode))

    @property
    def stored(self) -> int:
        """Bytes stored to global memory."""
        if self.kind != "STG":
            return 0
        width = re.search(r"\.[US]?(8|16|64|128|256)\b", self.opcode)
        return int(width[1]) // 8 if width else 4


class Block(NamedTuple):
    """A basic block: its instructions, and the numbers of the blocks that may follow."""

    code: list[Instruction]
    successors: list[int]


class Count(NamedTuple):
    """What a thread executes on the main path, and what ptxas says of the kernel."""

    pipes: Mapping[str, int]  # instructions
    stored: int  # bytes
    registers: int
    spilled: int  # bytes


def find_packaged(distribution: str, name: str) -> Path:
    """Where an installed distribution has the file `name`; PackageNotFoundError without the distribution."""
    found = importlib.metadata.distribution(distribution)
    return next(Path(str(found.locate_file(path))) for path in found.files or () if path.name == name)


def count(source: str, options: Sequence[str], architecture: int, narrowest: int) -> Count:
    """Compile a kernel, disassemble it and count along `main_path`."""
    cubin, log = compile_cubin(source, [*options, f"-arch=sm_{architecture}", "--ptxas-options=-v"])
    code = main_path(control_flow(disassemble(cubin)), narrowest)
    registers = re.search(r"Used (\d+) registers", log)
    assert registers, log
    return Count(
        Counter(instruction.pipe for instruction in code),
        sum(instruction.stored for instruction in code),
        int(registers[1]),
        sum(map(int, re.findall(r"(\d+) bytes spill", log))),
    )


def compile_cubin(source: str, options: Sequence[str]) -> tuple[bytes, str]:
    """The cubin, and the compiler's log."""
    from cupy_backends.cuda.libs import nvrtc

    handle = nvrtc.createProgram(source, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(handle, options)
        # CuPy takes a last zero byte off, as off a text; to nvdisasm the file is invalid without it.
        return nvrtc.getCUBIN(handle) + b"\0", nvrtc.getProgramLog(handle)
    finally:
        nvrtc.destroyProgram(handle)


def disassemble(cubin: bytes) -> str:
    """SASS, with labels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [str(find_packaged("nvidia-cuda-nvdisasm", "nvdisasm")), "-c", str(path)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def control_flow(sass: str) -> list[Block]:
    """The basic blocks of a disassembly of one kernel, its entry first."""
    code: list[list[Instruction]] = [[]]
    labels: dict[str, int] = {}
    for line in map(str.strip, sass.splitlines()):
        if label := LABEL.match(line):
            if code[-1]:
                code.append([])
            labels[label[1]] = len(code) - 1
        elif match := INSTRUCTION.search(line):
            code[-1].append(Instruction(match["guard"] or "", match["opcode"], match["operands"].strip()))
            if code[-1][-1].kind in JUMPS:
                code.append([])
    return [Block(body, list(successors(i, body, labels, len(code)))) for i, body in enumerate(code)]


def successors(number: int, body: Sequence[Instruction], labels: Mapping[str, int], blocks: int) -> Iterator[int]:
    """The blocks that may follow block `number`; none after a call of a function, the slow case of a division or a root."""
    last = body[-1] if body else Instruction("", "NOP", "")
    target = TARGET.search(last.operands)
    if last.kind in ("BRA", "JMP", "CALL") and target:  # ptxas also calls labels of the kernel itself, as a jump
        yield labels[target[1]]
    # A condition is a guard, or an operand before the target.
    conditional = bool(last.guard) or (last.kind == "BRA" and not last.operands.startswith("`"))
    if (last.kind not in JUMPS or conditional) and number + 1 < blocks:
        yield number + 1


def main_path(graph: Sequence[Block], narrowest: int) -> list[Instruction]:
    """The code of a thread that has a full, aligned piece of the array to write; each loop's body once.

    Of the ways from entry to exit without a store narrower than `narrowest` bytes, that which stores most, and of these the
    longest: so past early exits, and in `sparse` by elements that are not zeroed.
    """
    passing: set[int] = set()  # the blocks on the way to the one looked at: a step back to one of them closes a loop
    known: dict[int, tuple[int, int, tuple[int, ...]] | None] = {}  # bytes stored and instructions from a block on, the blocks

    def best(node: int) -> tuple[int, int, tuple[int, ...]] | None:
        if node not in known:
            passing.add(node)
            ways = [best(follower) for follower in graph[node].successors if follower not in passing]
            passing.remove(node)
            known[node] = longer(node, max(filter(None, ways), default=None))
        return known[node]

    def longer(node: int, way: tuple[int, int, tuple[int, ...]] | None) -> tuple[int, int, tuple[int, ...]] | None:
        code = graph[node].code
        stored = [instruction.stored for instruction in code if instruction.stored]
        leads_nowhere = way is None and code and code[-1].kind != "EXIT"
        if leads_nowhere or min(stored, default=narrowest) < narrowest:
            return None
        most, length, rest = way or (0, 0, ())
        return most + sum(stored), length + len(code), (node, *rest)

    way = best(0)
    if way is None or not way[0]:
        raise ValueError(f"no way through the kernel stores {narrowest} bytes at a time")
    return [instruction for node in way[2] for instruction in graph[node].code]
