// Normal<W>: z * std + mean, z from the word by the inverse CDF; odd_mean for elements of odd number, as complex arrays' imaginary parts are.
// Truncated<W>: the same from a probability inside [start, start + width] in the table's unit, clamped to [least, greatest].
#pragma once
#include "inverse_cdf.cuh"

namespace gpuinit {

template <typename W>
struct Normal {
    const W *table;
    W mean, odd_mean, std;

    __device__ __forceinline__ W operator()(typename Real<W>::Word word, i64 element) const {
        return add(multiply(inverse_cdf(table, word), std), element & 1 ? odd_mean : mean);
    }
};

template <typename W>
struct Truncated {
    const W *table;
    u64 start;
    u64 factor;  // of 32-bit words: the width's leading 32 bits; of 64-bit words: the width
    int shift;   // of 32-bit words only
    W mean, std, least, greatest;

    __device__ __forceinline__ u64 probability(u32 word) const { return start + ((word | 1) * factor >> shift); }
    __device__ __forceinline__ u64 probability(u64 word) const { return start + product(word | 1, factor).high; }

    __device__ __forceinline__ W operator()(typename Real<W>::Word word, i64) const {
        return clamp(add(multiply(inverse_cdf(table, probability(word)), std), mean), least, greatest);
    }
};

}  // namespace gpuinit
