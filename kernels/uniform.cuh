// Uniform<W>: u * scale + low clamped to [least, greatest], u = the word's upper 24 or 53 bits as a fraction in [0, 1).
#pragma once
#include "ieee.cuh"

namespace gpuinit {

template <typename W>
struct Uniform {
    W scale, low, least, greatest;

    using Word = typename Real<W>::Word;

    __device__ __forceinline__ W operator()(Word word, i64) const {
        constexpr int precision = Real<W>::precision;
        constexpr W unit = W(1) / W(1ull << precision);
        W u = multiply(Real<W>::from((typename Real<W>::Signed)(word >> (8 * sizeof(Word) - precision))), unit);
        return clamp(add(multiply(u, scale), low), least, greatest);
    }
};

}  // namespace gpuinit
