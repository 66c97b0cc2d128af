// inverse_cdf(table, word): Phi^-1 of the odd integer `word | 1` in a unit of probability, from a table of short polynomials, which
// begins with the row of that unit: 2**-32 or 2**-64 where a word is a fraction of its range.
// v, the word as a signed integer, is rounded to the working precision W. v's exponent and leading mantissa bits are the row,
// its mantissa, from 1 to 2, the polynomial's argument; rows hold Phi^-1 <= 0 and are for v > 0, v < 0 mirrors them.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

template <typename W> struct Table;

template <> struct Table<float> {
    static constexpr int segment_bits = 5, mantissa_bits = 23, bias = 127, degree = 2;
    float c[4];  // one 16-byte load; the last is padding
};

template <> struct Table<double> {
    static constexpr int segment_bits = 7, mantissa_bits = 52, bias = 1023, degree = 4;
    double c[6];  // three 16-byte loads; the last is padding
};

__device__ __forceinline__ i32 as_signed(u32 word) { return (i32)word; }
__device__ __forceinline__ i64 as_signed(u64 word) { return (i64)word; }

template <typename W, typename Word>
__device__ __forceinline__ W inverse_cdf(const W *table, Word word) {
    using Bits = typename Real<W>::Word;
    using Row = Table<W>;
    constexpr Bits mantissa = (Bits(1) << Row::mantissa_bits) - 1;
    constexpr Bits one = Bits(Row::bias) << Row::mantissa_bits;
    constexpr Bits sign = Bits(1) << (8 * sizeof(Bits) - 1);
    constexpr int one_row = Row::bias << Row::segment_bits;  // what is shifted out of the bits of v = 1

    const Bits v = Real<W>::bits(Real<W>::from(as_signed(word | 1)));
    const int number = (int)((v & ~sign) >> (Row::mantissa_bits - Row::segment_bits)) - one_row;
    const Row &row = load_constant<Row>(table + number * (int)(sizeof(Row) / sizeof(W)));
    const W r = Real<W>::of_bits((v & mantissa) | one);
    W z = row.c[Row::degree];
#pragma unroll
    for (int k = Row::degree - 1; k >= 0; --k) z = add(multiply(z, r), row.c[k]);
    return Real<W>::of_bits(Real<W>::bits(z) ^ (v & sign));
}

}  // namespace gpuinit
