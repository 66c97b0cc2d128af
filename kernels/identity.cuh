// eye(i, columns), dirac(i, ...): whether element i, in C order, of an identity matrix or a Dirac kernel is one.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

__device__ __forceinline__ bool eye(u64 i, u64 columns) {
    return i / columns == i % columns;
}

// Elements of (out, in, *kernel): `field` elements a kernel, its centre the element number `centre`, `group` outputs a group.
__device__ __forceinline__ bool dirac(u64 i, u64 inputs, u64 field, u64 centre, u64 group) {
    const u64 channel = i / field;
    return i % field == centre && channel / inputs % group == channel % inputs;
}

}  // namespace gpuinit
