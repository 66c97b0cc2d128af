// store(x, first, values): elements `first` to `first + count` of x, as far as it has them, from values of the same width.
// write(x, i, next): piece i of x, the elements in 16 bytes; next() gives one after the other.
// `Array` is CuPy's CArray or a Span (batch.cuh); contiguous, aligned ones are stored 16 bytes at a time (8 where there are no more),
// others by C-order number.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

// Unsigned integers for an array's element numbers: 32 bits where CuPy says that they suffice.
template <typename Array>
using Number = typename cupy::type_traits::conditional<sizeof(typename Array::index_t) == sizeof(u32), u32, u64>::type;

template <typename Array, typename Value, int count>
__device__ __forceinline__ void store(Array &x, i64 first, const Value (&values)[count]) {
    using Wide = typename cupy::type_traits::conditional<sizeof(values) % sizeof(uint4) == 0, uint4, uint2>::type;
    static_assert(sizeof(values) % sizeof(Wide) == 0, "whole stores");
    if constexpr (Array::c_contiguous) {
        Wide *place = reinterpret_cast<Wide *>(&x[0] + first);
        if (first + count <= (i64)x.size() && (u64)place % sizeof(Wide) == 0) {
#pragma unroll
            for (int j = 0; j < (int)(sizeof(values) / sizeof(Wide)); ++j) place[j] = reinterpret_cast<const Wide *>(values)[j];
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < count; ++j)
        if (first + j < (i64)x.size()) reinterpret_cast<Value &>(x[first + j]) = values[j];
}

template <typename T, typename Array, typename Next>
__device__ __forceinline__ void write(Array &x, i64 i, Next next) {
    constexpr int count = sizeof(uint4) / sizeof(T);
    alignas(uint4) T values[count];
#pragma unroll
    for (int j = 0; j < count; ++j) values[j] = next();
    store(x, i * count, values);
}

}  // namespace gpuinit
