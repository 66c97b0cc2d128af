"""bench/gpu_report.py without a GPU: parts that fail in every way, the report, the page, and what is parsed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import gpu_report
import pytest
from gpu_parts import Part, fills, ncu, page, runner, summary, tables, task, variant_kernels, why

MODULES = {
    "good": """
        def main(task):
            task.add("value", value=1)
            task.note("one result")
    """,
    "hangs": """
        import pathlib, subprocess, time
        def main(task):
            child = subprocess.Popen(["sleep", "60"])
            task.add("child", pid=child.pid)
            time.sleep(60)
    """,
    "raises": """
        def main(task):
            task.add("value", value=2)
            raise ZeroDivisionError("of the test")
    """,
    "aborts": """
        import os
        def main(task):
            task.add("value", value=3)
            os.abort()
    """,
    "finds": """
        def main(task):
            task.fail("two values differ")
            task.fail("three values differ")
    """,
    "skips": """
        from gpu_parts.task import SkipError
        def main(task):
            raise SkipError("no such device")
    """,
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Parts that do what their names say."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text("\n".join(line.removeprefix("        ") for line in text.splitlines()))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return {name: Part(name, f"A part that {name}", name) for name in MODULES}


def test_no_part_stops_the_others(tmp_path, modules, capfd):
    """The hanging part is stopped at its limit, with the process that it started. Measurements made before a failure are kept."""
    started, seconds = time.monotonic(), 24
    settings = runner.Settings(tmp_path / "out", False, started + seconds)
    order = ["hangs", "raises", "aborts", "finds", "skips", "good"]
    assert gpu_report.run([modules[name] for name in order], settings) == 1
    assert time.monotonic() - started < seconds
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    ended = {part["part"]: (part["status"], part["reason"]) for part in report["parts"]}
    assert list(ended) == ["machine", *order]
    assert ended["hangs"][0] == "timed out"
    assert ended["raises"] == ("failed", "ZeroDivisionError: of the test; see raises-raises.log")
    assert ended["aborts"] == ("failed", "ended by SIGABRT; see aborts-aborts.log")
    assert ended["finds"] == ("failed", "two values differ, and 1 more")
    assert ended["skips"] == ("skipped", "no such device")
    assert ended["good"] == ("ok", "one result")
    assert [row["value"] for row in report["measured"] if row["kind"] == "value"] == [2, 3, 1]
    (child,) = [row["pid"] for row in report["measured"] if row["kind"] == "child"]
    assert _has_ended(child)
    logs = tmp_path / "out" / "logs"
    assert 'hangs.py", line 6 in main' in (logs / "hangs-hangs.log").read_text()  # the stack, shortly before the limit
    assert "ZeroDivisionError" in (logs / "raises-raises.log").read_text()
    text = (tmp_path / "out" / "report.md").read_text()
    printed = capfd.readouterr().out
    for name in order:
        assert f"| {name}. A part that {name} | {ended[name][0]} |" in text
        assert f"A part that {name}: " in printed


def _has_ended(pid: int) -> bool:
    """Also where nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


def test_results_that_cannot_be_shown_do_not_end_the_run(tmp_path, monkeypatch, capfd):
    (tmp_path / "odd.py").write_text("def main(task):\n    task.add('fill', unknown=1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert gpu_report.main(["--minutes", "0.5", "--out", str(tmp_path / "out"), "--parts", "odd"]) == 0
    assert {"part": "odd", "kind": "fill", "unknown": 1} in json.loads((tmp_path / "out" / "report.json").read_text())["measured"]
    assert "KeyError" in capfd.readouterr().err


def test_no_time_is_left(tmp_path, modules):
    outcome = runner.run(modules["good"], runner.Settings(tmp_path, False, time.monotonic()), 0.5)
    assert (outcome.status, outcome.reason) == ("timed out", "no time was left")


def test_a_line_that_was_cut_off(tmp_path):
    part = Part("x", "", "x")
    runner.lines_of(part, tmp_path).parent.mkdir()
    runner.lines_of(part, tmp_path).write_text('{"kind": "fill"}\n{"kind": "fi')
    assert runner.rows_of(part, tmp_path) == [{"kind": "fill"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "above 0, got '0'"),
        (["--minutes", "nan"], "above 0, got 'nan'"),
        (["--parts", "z"], "must be one of a, b, c, d, e, f, g, or a module's name, got 'z'"),
    ],
)
def test_bad_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit):
        gpu_report.main(arguments)
    assert message in capsys.readouterr().err


def test_the_command_imports_neither_cupy_nor_torch():
    """So that a fault in CUDA cannot stop it."""
    code = "import sys, gpu_report; print({'cupy', 'torch', 'jax'} & set(sys.modules))"
    done = runner.subprocess.run(
        [runner.sys.executable, "-c", code], capture_output=True, text=True, env=runner.environment(), check=True
    )
    assert done.stdout.strip() == "set()"


# The page.

SIZES = [2**exponent for exponent in range(10, 29, 2)]
SPEEDS = {
    "gpuinit": 2600.0,
    "torch": 1900.0,
    "CuPy Generator XORWOW": 900.0,
    "CuPy Generator Philox4x3210": 700.0,
    "memset": 2900.0,
}


def sample():
    """A report of a GPU that nobody has measured."""
    measured = [
        {
            "part": "c",
            "kind": "fill",
            "function": function,
            "dtype": dtype,
            "size": size,
            "shape": [size],
            "library": library,
            "seconds": 1e-3,
            "GB/s": round(speed * size / (size + 2**22), 1),
        }
        for function in fills.SWEPT
        for dtype in ("float32", "bfloat16")
        for size in SIZES
        for library, speed in SPEEDS.items()
    ]
    call = {"kind": "call", "function": "normal_", "shape": [64, 64], "library": "torch", "host_us": 4.25, "done_us": 5.5}
    variant = {"kind": "variant", "kernel": "normal", "dtype": "float32", "table": "rows", "blocks": 2, "threads": 128}
    first = {"kind": "first call", "function": "normal_", "dtype": "float32", "cold_s": 0.5, "nvrtc_s": 0.4, "warm_s": 0.01}
    return {
        "schema": page.SCHEMA,
        "started": "2030-01-02T03:04:05+00:00",
        "quick": False,
        "emulated": False,
        "machine": {
            "cpu": "A processor",
            "cores": 16,
            "threads": 16,
            "gpu": "NVIDIA H100 80GB HBM3",
            "cpu_kernels": "compiled",
            "date": "2030-01-02",
            "versions": {"python": "3.12.3", "torch": "2.11.0"},
            "device": {"multiprocessors": 132, "driver_version": "580.1"},
        },
        "parts": [runner.Outcome("c", "Fast", "ok", "all | measured", 100.0, 150.0)._asdict()],
        "measured": [*measured, call, {**variant, "of_library": 1.25}, {**variant, "threads": 256, "of_library": 0.5}, first],
    }


def stored(tmp_path, **changes):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(sample() | changes))
    return path


def test_the_page_of_a_report(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "gpu_cost.md").write_text((page.DOCS / "gpu_cost.md").read_text("utf-8"))
    assert page.write(stored(tmp_path), tmp_path) == [tmp_path / name for name in ("gpu.md", "gpu.png", "gpu.json")]
    text = (tmp_path / "gpu.md").read_text("utf-8")
    model = page.model((page.DOCS / "gpu_cost.md").read_text("utf-8"), "NVIDIA H100 80GB HBM3")
    assert f"| normal_ | float32 | 2^28 | 2560 | 90% | {model['normal', 'float32']} | 1871 | 1.37 | 886 | - |" in text
    assert "| constant_ | bfloat16 | 2^28 | 2560 | 90% | - | 1871 | 1.37 | 886 | - |" in text
    assert "| normal | float32 | rows | 2 | 1.250 | 0.500 |" in text
    assert "| normal_ | 64x64 | torch | 4.2 | 5.5 |" in text
    assert "| normal_ | float32 | 0.500 | 0.400 | 0.010 |" in text
    assert "Measured on 2030-01-02: A processor" in text
    assert all(known in text for known in ("NVIDIA H100 80GB HBM3", "driver_version 580.1", "torch 2.11.0", "](gpu.png)"))
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "gpu.json").read_text()) == json.loads((tmp_path / "report.json").read_text())


def test_the_model_is_of_the_same_gpu():
    text = (page.DOCS / "gpu_cost.md").read_text("utf-8")
    assert page.model(text, "NVIDIA L4").keys() == {(k, d) for k in ("uniform", "normal", "truncated") for d in fills.DTYPES}
    assert page.model(text, "NVIDIA L40S") == {}
    assert page.model(text, "NVIDIA A100-SXM4-80GB")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emulated": True}, "must be of a real GPU, got emulated=True"),
        ({"emulated": None}, "must be of a real GPU, got emulated=None"),
        ({"quick": True}, "must be of a full run, got one of --quick"),
        ({"measured": []}, "must have speeds of fills, got none"),
        ({"schema": 99}, "must have schema 1, got 99"),
    ],
)
def test_no_page_of_other_reports(tmp_path, capsys, changes, message):
    with pytest.raises(ValueError, match=message):
        page.write(stored(tmp_path, **changes), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["report.json"]
    assert gpu_report.main(["--page", "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_no_page_of_no_report(tmp_path, capsys):
    assert gpu_report.main(["--page", "--out", str(tmp_path)]) == 2
    assert "report.json" in capsys.readouterr().err


def test_the_page_in_docs_is_that_of_its_report():
    """Until a GPU was measured, that of no report."""
    measured = page.DOCS / "gpu.json"
    assert (page.DOCS / "gpu.md").read_text("utf-8") == page.text(page.load(measured) if measured.exists() else None)


def test_the_warning_of_a_report_without_meaning():
    report = sample() | {"emulated": True, "quick": True}
    assert summary.text(report).count("all times are meaningless") == 2
    assert "meaningless" not in summary.text(sample())


def test_a_report_without_a_machine():
    report = sample() | {"machine": {}, "measured": [], "parts": []}
    assert "could not be described" in summary.text(report)
    assert not tables.fills(report).rows


# Nsight Compute.

_WIDE = """==PROF== Connected to process 7 (/usr/bin/python3.12)
==PROF== Profiling "gpuinit_normal" - 0: 0%....50%....100% - 19 passes
==PROF== Disconnected from process 7
"ID","Process ID","Kernel Name","Block Size","Device",{names}
"","","","","",{units}
"0","7","gpuinit_normal","(128, 1, 1)","0",{first}
"1","7","gpuinit_normal","(128, 1, 1)","0",{second}
"""
METRICS = {  # unit, and the value in two launches
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": ("%", "61.5", "81.25"),
    "gpu__time_duration.sum": ("ns", "1,234,500", "1,000,000"),
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": ("request", "n/a", "1,000"),
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": ("sector", "n/a", "16,000"),
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": ("inst", "1", "2.5"),
    "smsp__average_warps_issue_stalled_wait_per_issue_active.ratio": ("inst", "1", "0.25"),
}


def _quoted(cells):
    return ",".join(f'"{cell}"' for cell in cells)


def test_the_output_of_ncu():
    one, two = ncu.parse(wide())
    assert one.kernel == two.kernel == "gpuinit_normal"
    assert one.metrics["gpu__time_duration.sum"] == (1234500.0, "ns")
    assert "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum" not in one.metrics
    assert ncu.shown(two) == {
        "time": "1e+06 ns",
        "memory throughput (DRAM)": "81.25 %",
        "L1 load requests": "1,000 request",
        "L1 load sectors": "16,000 sector",
        "L1 sectors per load request": "16",
        "stalled: long scoreboard": "2.5 warps per issue",
        "stalled: wait": "0.25 warps per issue",
    }


def test_the_output_of_ncu_by_metrics():
    rows = [["ID", "Kernel Name", "Metric Name", "Metric Unit", "Metric Value"]]
    rows += [["0", "gpuinit_uniform", name, unit, value] for name, (unit, _, value) in METRICS.items()]
    (only,) = ncu.parse("\n".join(map(_quoted, rows)))
    assert only.kernel == "gpuinit_uniform"
    assert only.metrics["gpu__time_duration.sum"] == (1e6, "ns")


@pytest.mark.parametrize("text", ["", "==ERROR== no counters\n", '"a","b"\n"1","2"\n', '"Kernel Name","x"\n'])
def test_the_output_of_ncu_that_failed(text):
    assert list(ncu.parse(text)) == []


def wide():
    """The output of ncu with one row for each launch."""
    units, first, second = map(_quoted, zip(*METRICS.values()))
    return _WIDE.format(names=_quoted(METRICS), units=units, first=first, second=second)


# Programs in place of ncu, the kernels that the report then has, and how often the part fails.
_WRITES = f"cat > $log <<'END'\n{wide()}END"
PROFILERS = {
    "works": (_WRITES, ["gpuinit_normal"], 0),
    "knows not all metrics": (f"case $* in *--metrics*) exit 1;; esac; {_WRITES}", ["gpuinit_normal"], 0),
    "has no permission": ("echo '==ERROR== ERR_NVGPUCTRPERM' > $log; exit 1", [], 1),
}
# In place of compute-sanitizer: one that finds an error with its second tool, and does not end with its third.
SANITIZER = """case $* in
*racecheck*) echo RACECHECK SUMMARY: 3 hazards displayed; exit 7;;
*initcheck*) exec sleep 60;;
esac
echo ERROR SUMMARY: 0 errors
"""


def _program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def rows_of(path, kind):
    return [row for row in task.read_lines(path) if row["kind"] == kind]


@pytest.mark.parametrize("kind", PROFILERS)
def test_a_profiler(tmp_path, kind):
    text, kernels, failures = PROFILERS[kind]
    program = _program(tmp_path / "ncu", f'for word; do [ "$last" = --log-file ] && log=$word; last=$word; done\n{text}')
    part = task.Task(tmp_path / "lines", 20, True)
    why._profile(part, program)
    assert [row["kernel"] for row in rows_of(tmp_path / "lines", "profile")] == kernels
    assert part.failures == failures
    assert ["ERR_NVGPUCTRPERM" in row["text"] for row in rows_of(tmp_path / "lines", "failure")] == [True] * failures


def test_a_sanitizer(tmp_path):
    part = task.Task(tmp_path / "lines", 4, True)
    note = why._sanitize(part, _program(tmp_path / "compute-sanitizer", SANITIZER))
    assert note == "memcheck found nothing, racecheck failed, initcheck did not end in time"
    assert part.failures == 1
    found = [(row["tool"], row["errors"], row["code"]) for row in rows_of(tmp_path / "lines", "sanitizer")]
    assert found == [("memcheck", 0, 0), ("racecheck", 3, 7), ("initcheck", None, None)]


# Plans.


def test_the_most_valuable_fills_come_first():
    plan = list(fills.plan(2**28, False))
    assert [(cell.function, cell.dtype) for cell in plan[:3]] == [(name, "float32") for name in fills.HEADLINES]
    measured = {(cell.function, cell.dtype) for cell in plan if cell.size == 2**28}
    assert measured == {(case.name, dtype) for case in fills.CASES for dtype in fills.DTYPES}
    assert {cell.size for cell in plan if cell.function == "normal_" and cell.dtype == "float32"} == set(SIZES)
    by_jax = [number for number, cell in enumerate(plan) if "jax" in cell.libraries]
    assert by_jax == list(range(len(plan) - len(by_jax), len(plan)))


def test_a_substitution_that_finds_nothing_raises():
    assert variant_kernels.substitute("a b c", "b", "x") == "a x c"
    for text in ("a c", "b b"):
        with pytest.raises(ValueError, match="must contain 'b' once"):
            variant_kernels.substitute(text, "b", "x")
