// Narrow<W>: a polynomial in s, which is uniform on [-1, 1]: the word as an odd number of steps from the middle of its range; clamped.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

template <typename W>
struct Narrow {
    static constexpr int degree = 8;
    W c[degree + 1], least, greatest;

    using Word = typename Real<W>::Word;

    __device__ __forceinline__ W operator()(Word word, i64) const {
        constexpr Word middle = Word(1) << (8 * sizeof(Word) - 1);
        constexpr W unit = W(1) / W(middle);
        const W s = multiply(Real<W>::from((typename Real<W>::Signed)((word | 1) ^ middle)), unit);
        W value = c[degree];
#pragma unroll
        for (int k = degree - 1; k >= 0; --k) value = add(multiply(value, s), c[k]);
        return clamp(value, least, greatest);
    }
};

}  // namespace gpuinit
