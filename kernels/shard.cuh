// Shards: arrays that are part of a larger one, and lie in it as runs of consecutive elements, on a grid of `axes` axes.
// Region<axes>::number(i): the number in the larger array of the shard's element i, both in C order.
// fill_shard(x, i, ...): as fill_blocks(), for a shard x; loop index i is a block of a run, each of which touches so many at the most.
#pragma once
#include "fill.cuh"

namespace gpuinit {

template <int axes>
struct Region {
    u64 offset;  // number of the first element
    u64 length;  // of a run
    u64 counts[axes], steps[axes];

    // Number of a run's first element.
    __device__ __forceinline__ u64 start(u64 run) const {
        u64 number = offset;
#pragma unroll
        for (int k = axes - 1; k > 0; --k) {
            number += run % counts[k] * steps[k];
            run /= counts[k];
        }
        return number + run * steps[0];
    }

    __device__ __forceinline__ u64 number(u64 i) const { return start(i / length) + i % length; }
};

// Write to elements `place` to `place + length` of x, a run, as far as `count` elements reach that begin k elements into it.
template <typename T, typename Array, int count>
__device__ __forceinline__ void store_run(
    Array &x, i64 place, i64 length, i64 k, const typename Rounded<T>::Bits (&bits)[count]) {
    if constexpr (Array::c_contiguous) {
        if (k >= 0 && k + count <= length) {
            store(x, place + k, bits);
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < count; ++j)
        if (k + j >= 0 && k + j < length) reinterpret_cast<typename Rounded<T>::Bits &>(x[place + k + j]) = bits[j];
}

template <typename T, typename Array, int axes, typename Transform>
__device__ __forceinline__ void fill_shard(
    Array &x, u64 i, const Region<axes> &region, const Stream &stream, const Transform &transform) {
    constexpr u64 count = sizeof(Block) / sizeof(typename Rounded<T>::Working);
    const u64 blocks = (region.length + count - 2) / count + 1;  // wherever in its first block a run begins
    const u64 run = i / blocks, number = region.start(run), block = number / count + i % blocks;
    if (block * count >= number + region.length) return;
    alignas(uint4) typename Rounded<T>::Bits bits[count];
    elements<T>(block, stream, transform, bits);
    store_run<T>(x, run * region.length, region.length, block * count - number, bits);
}

}  // namespace gpuinit
