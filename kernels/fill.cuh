// fill_blocks(x, i, threads, stream, transform): the elements of x whose words are BLOCKS blocks, in pieces i, i + threads ..., each of
// 16 bytes of x; an element is transform(its word, its number). The blocks of a thread share set-up and key schedule.
// elements(i, ...): the bits of the elements whose words lie in block i of the fill.
#pragma once
#include "philox.cuh"
#include "store.cuh"

namespace gpuinit {

constexpr int BLOCKS = 8;  // a thread; even, for types half as wide as their words

template <typename T, typename Transform, int count>
__device__ __forceinline__ void elements(
    i64 i, const Stream &stream, const Transform &transform, typename Rounded<T>::Bits (&bits)[count], int first = 0) {
    constexpr int per_block = sizeof(Block) / sizeof(typename Rounded<T>::Working);
    const Block block = stream.block(i);
    typename Rounded<T>::Working values[per_block];
#pragma unroll
    for (int j = 0; j < per_block; ++j) {
        typename Real<typename Rounded<T>::Working>::Word word;
        block.word(j, word);
        values[j] = transform(word, i * per_block + j);
    }
#pragma unroll
    for (int j = 0; j < per_block; ++j) {
        if constexpr (sizeof(bits[0]) == 2) {
            bits[first + j] = Rounded<T>::pair(values[j & ~1], values[j | 1]) >> 16 * (j % 2);
        } else {
            bits[first + j] = Rounded<T>::bits(values[j]);
        }
    }
}

template <typename T, typename Array, typename Transform>
__device__ __forceinline__ void fill_blocks(Array &x, i64 i, i64 threads, const Stream &stream, const Transform &transform) {
    constexpr int count = sizeof(uint4) / sizeof(T);
    constexpr int blocks = sizeof(typename Rounded<T>::Working) / sizeof(T);  // whose elements are a piece
#pragma unroll
    for (int j = 0; j < BLOCKS / blocks; ++j) {
        const i64 piece = i + j * threads;
        alignas(uint4) typename Rounded<T>::Bits bits[count];
#pragma unroll
        for (int k = 0; k < blocks; ++k) elements<T>(piece * blocks + k, stream, transform, bits, k * count / blocks);
        store(x, piece * count, bits);
    }
}

}  // namespace gpuinit
