// fill(x, i, stream, transform): the elements of x whose words lie in block i of the fill, as transform(word, element's number).
// fill_blocks(x, i, threads, ...): the same for blocks i, i + threads ..., BLOCKS of them, which share set-up and key schedule.
#pragma once
#include "philox.cuh"
#include "store.cuh"

namespace gpuinit {

constexpr int BLOCKS = 2;  // a thread

// The bits of the elements of block i.
template <typename T, typename Transform, int count>
__device__ __forceinline__ void elements(
    i64 i, const Stream &stream, const Transform &transform, typename Rounded<T>::Bits (&bits)[count]) {
    const Block block = stream.block(i);
    typename Rounded<T>::Working values[count];
#pragma unroll
    for (int j = 0; j < count; ++j) {
        typename Real<typename Rounded<T>::Working>::Word word;
        block.word(j, word);
        values[j] = transform(word, i * count + j);
    }
#pragma unroll
    for (int j = 0; j < count; ++j) {
        if constexpr (sizeof(bits[0]) == 2) {
            bits[j] = Rounded<T>::pair(values[j & ~1], values[j | 1]) >> 16 * (j % 2);
        } else {
            bits[j] = Rounded<T>::bits(values[j]);
        }
    }
}

template <typename T, typename Array, typename Transform>
__device__ __forceinline__ void fill(Array &x, i64 i, const Stream &stream, const Transform &transform) {
    constexpr int count = sizeof(Block) / sizeof(typename Rounded<T>::Working);
    alignas(uint4) typename Rounded<T>::Bits bits[count];
    elements<T>(i, stream, transform, bits);
    store(x, i * count, bits);
}

template <typename T, typename Array, typename Transform>
__device__ __forceinline__ void fill_blocks(Array &x, i64 i, i64 threads, const Stream &stream, const Transform &transform) {
#pragma unroll
    for (int j = 0; j < BLOCKS; ++j) fill<T>(x, i + j * threads, stream, transform);
}

}  // namespace gpuinit
