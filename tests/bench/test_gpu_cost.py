"""The count behind bench/gpu_cost.py, and its page. It compiles only; CI holds all budgets by its --check."""

from __future__ import annotations

from importlib import metadata

import gpu_cost
import pytest
import roofs
import sass

from tests.support.arrays import cupy_or_skip

# An early exit, a loop whose body stores by 16 bytes or, past the end, by 4, and a call of a division's slow case.
SASS = """
.text.kernel:
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/               @P0 EXIT ;
        /*0020*/                   UIADD3 UR4, UR4, 0x1, URZ ;
.L_x_3:
        /*0030*/                   IMAD.WIDE.U32 R2, R0, 0x4, R2 ;
        /*0040*/               @P1 BRA `(.L_x_0) ;
        /*0050*/                   CALL.REL.NOINC `($__internal_0_$__cuda_sm20_div_u64) ;
        /*0060*/                   BRA `(.L_x_0) ;
.L_x_0:
        /*0070*/                   I2FP.F32.S32 R4, R4 ;
        /*0080*/                   FMUL R4, R4, 5 ;
        /*0090*/              @!P0 STG.E.128 desc[UR4][R2.64], R4 ;
        /*00a0*/                   BRA.U !UP0, `(.L_x_2) ;
        /*00b0*/                   STG.E desc[UR4][R2.64], R4 ;
        /*00c0*/                   STG.E desc[UR4][R2.64+0x4], R5 ;
        /*00d0*/                   LOP3.LUT R9, R9, R8, R7, 0x96, !PT ;
.L_x_2:
        /*00e0*/                   IADD3 R0, R0, UR4, RZ ;
        /*00f0*/              @!P0 CALL.REL.NOINC `(.L_x_9) ;
        /*0100*/                   BRA `(.L_x_3) ;
.L_x_9:
        /*0110*/                   EXIT ;
.L_x_4:
        /*0120*/                   BRA `(.L_x_4) ;
"""


def test_the_main_path_of_a_disassembly():
    code = sass.main_path(sass.control_flow(SASS), 16)
    expected = "S2R EXIT UIADD3 IMAD.WIDE.U32 BRA I2FP.F32.S32 FMUL STG.E.128 BRA.U IADD3 CALL.REL.NOINC EXIT"
    assert [instruction.opcode for instruction in code] == expected.split()
    pipes = "memory branch uniform wide branch convert fp32 memory branch integer branch branch"
    assert [instruction.pipe for instruction in code] == pipes.split()
    assert sum(instruction.stored for instruction in code) == 16


def test_a_kernel_without_the_store_has_no_main_path():
    with pytest.raises(ValueError, match="stores 16 bytes at a time"):
        sass.main_path(sass.control_flow(SASS.replace("STG.E.128", "STG.E.64")), 16)


def test_the_roof():
    gpu = roofs.Gpu("one clock a byte", 90, 10, 2.0, 20, {"issue": 128, "imad": 64, "fp32": 128})
    assert roofs.roof(gpu, {"fp32": 256, "imad": 64, "wide": 64}, 4) == (4, 3, "issue")
    assert roofs.roof(gpu, {"fp32": 256, "imad": 64, "wide": 64}, 2).share == pytest.approx(2 / 3)
    assert roofs.roof(gpu, {"imad": 64, "wide": 64}, 1, wide=2) == (1, 3, "imad")


@pytest.mark.gpu
@pytest.mark.slow
def test_float32_on_sm_90_is_within_its_budgets():
    cupy_or_skip()
    for distribution in ("nvidia-cuda-nvdisasm", "nvidia-curand"):
        try:
            metadata.distribution(distribution)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{distribution} is not installed: gpuinit[gpucost]")
    found = gpu_cost.costs([90], ["float32"])
    assert {c.kernel for c in found} > set(gpu_cost.BUDGETS[90])
    assert not [(c.kernel, c.total, c.budget) for c in found if c.excess]
    assert all(c.count.spilled == 0 for c in found)
    assert {c.kernel: c.elements for c in found if c.kernel in gpu_cost.KERNELS} == {
        **dict.fromkeys(("uniform", "normal", "truncated", "narrow", *gpu_cost.BATCHES, "sparse"), 32),
        **dict.fromkeys(("constant", "eye", "dirac"), 4),
        "trunc": 1,
    }


def test_the_page_has_the_budgets():
    page = gpu_cost.PAGE.read_text("utf-8")
    rows = [(number, kernel, budget) for number, kernels in gpu_cost.BUDGETS.items() for kernel, budget in kernels.items()]
    for number, kernel, budget in rows:
        row = " | ".join([f"sm_{number}", kernel, *(str(budget.get(dtype, "-")) for dtype in gpu_cost.DTYPES)])
        assert f"\n| {row} |\n" in page
