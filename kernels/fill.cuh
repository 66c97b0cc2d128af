// fill(x, i, stream, transform): the elements of x whose words lie in block i of the fill, as transform(word, element's number).
// fill_blocks(x, i, threads, ...): the same for blocks i, i + threads ..., BLOCKS of them, which share set-up and key schedule.
// `Array` is CuPy's CArray; contiguous and aligned ones are stored 16 bytes at a time, any other by C-order number.
#pragma once
#include "philox.cuh"

namespace gpuinit {

constexpr int BLOCKS = 2;  // a thread

// Write `count` elements to a place aligned for 16-byte stores.
template <typename Bits, int count>
__device__ __forceinline__ void store_wide(void *place, const Bits (&bits)[count]) {
    constexpr int size = sizeof(Bits), words = count * size / 4;
    u32 word[words];
#pragma unroll
    for (int j = 0; j < words; ++j) {
        if constexpr (size == 8) word[j] = (u32)(bits[j / 2] >> (32 * (j % 2)));
        if constexpr (size == 4) word[j] = bits[j];
        if constexpr (size == 2) word[j] = bits[2 * j] | (u32)bits[2 * j + 1] << 16;
    }
#pragma unroll
    for (int j = 0; j < words; j += 4) static_cast<uint4 *>(place)[j / 4] = make_uint4(word[j], word[j + 1], word[j + 2], word[j + 3]);
}

// Write elements `first` to `first + count` of x, as far as it has them.
template <typename T, typename Array, int count>
__device__ __forceinline__ void store(Array &x, i64 first, const typename Rounded<T>::Bits (&bits)[count]) {
    if constexpr (Array::c_contiguous) {
        T *place = &x[0] + first;
        if (first + count <= (i64)x.size() && (u64)place % sizeof(uint4) == 0) {
            store_wide(place, bits);
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < count; ++j)
        if (first + j < (i64)x.size()) reinterpret_cast<typename Rounded<T>::Bits &>(x[first + j]) = bits[j];
}

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
    typename Rounded<T>::Bits bits[count];
    elements<T>(i, stream, transform, bits);
    store<T>(x, i * count, bits);
}

template <typename T, typename Array, typename Transform>
__device__ __forceinline__ void fill_blocks(Array &x, i64 i, i64 threads, const Stream &stream, const Transform &transform) {
#pragma unroll
    for (int j = 0; j < BLOCKS; ++j) fill<T>(x, i + j * threads, stream, transform);
}

}  // namespace gpuinit
