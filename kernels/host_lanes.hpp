// Vectors of a CPU for the fills of `host.cpp`, as wide as the compiler's flags allow: GCC's and Clang's vector types, whose operators
// work on each lane, with intrinsics for what these lack: the product of 32-bit halves, and loads from many places.
// draw_group(stream, number, out): the words of GROUP blocks from number `number` on.
// inverse_cdf_lanes(table, v): that of `inverse_cdf.cuh`, on each lane; v is the odd word as a signed integer, rounded.
#pragma once
#include "inverse_cdf.cuh"
#include "philox.cuh"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace gpuinit {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <typename T> struct Vector {
    typedef T type __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int lanes = VECTOR_BYTES / sizeof(T);
};
template <typename T> using Lanes = typename Vector<T>::type;

template <typename V, typename T>
__forceinline__ V load_lanes(const T *place) {
    V lanes;
    __builtin_memcpy(&lanes, place, sizeof(V));
    return lanes;
}

template <typename V, typename T>
__forceinline__ void store_lanes(T *place, V lanes) {
    __builtin_memcpy(place, &lanes, sizeof(V));
}

// The 64-bit products of the lanes' lower halves; the upper ones may hold anything.
__forceinline__ Lanes<u64> multiply_halves(Lanes<u64> a, Lanes<u64> b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Lanes<u64>)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (Lanes<u64>)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (Lanes<u64>)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

// Philox on four vectors of blocks at a time, so that the products of one are under way while others are begun.
constexpr int SETS = 4;
constexpr int GROUP = SETS * Vector<u64>::lanes;

// Lane k has the words of block k in its lower halves; to `out`, block by block.
__forceinline__ void store_blocks(u32 *out, Lanes<u64> c0, Lanes<u64> c1, Lanes<u64> c2, Lanes<u64> c3) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    const __m512i first = _mm512_mask_shuffle_epi32((__m512i)c0, 0xaaaa, (__m512i)c1, _MM_PERM_CCAA);
    const __m512i second = _mm512_mask_shuffle_epi32((__m512i)c2, 0xaaaa, (__m512i)c3, _MM_PERM_CCAA);
    const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi64(first, low, second));
    _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi64(first, high, second));
#elif defined(__AVX2__)
    const __m256i first = _mm256_blend_epi32((__m256i)c0, _mm256_slli_epi64((__m256i)c1, 32), 0xaa);
    const __m256i second = _mm256_blend_epi32((__m256i)c2, _mm256_slli_epi64((__m256i)c3, 32), 0xaa);
    const __m256i even = _mm256_unpacklo_epi64(first, second), odd = _mm256_unpackhi_epi64(first, second);
    _mm256_storeu_si256((__m256i *)out, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(out + 8), _mm256_permute2x128_si256(even, odd, 0x31));
#else
    for (int k = 0; k < Vector<u64>::lanes; ++k)
        store_lanes(out + 4 * k, Block{{(u32)c0[k], (u32)c1[k], (u32)c2[k], (u32)c3[k]}});
#endif
}

__forceinline__ void draw_group(const Stream &stream, u64 number, u32 *__restrict out) {
    constexpr int lanes = Vector<u64>::lanes;
    Lanes<u64> c0[SETS], c1[SETS], c2[SETS], c3[SETS], counter;
    for (int k = 0; k < lanes; ++k) counter[k] = stream.first + number + k;
    Key key = stream.key;
    const Lanes<u64> m0 = Lanes<u64>{} + PHILOX_M0, m1 = Lanes<u64>{} + PHILOX_M1;
    // The first round, with its product with 0 left out.
#pragma GCC unroll 4
    for (int s = 0; s < SETS; ++s) {
        const Lanes<u64> c = counter + (u64)(s * lanes);
        c3[s] = multiply_halves(c, m0);
        c0[s] = c >> 32 ^ (u64)key.low;
        c1[s] = Lanes<u64>{};
        c2[s] = c3[s] >> 32 ^ (u64)key.high;
    }
#pragma GCC unroll 10
    for (int round = 1; round < PHILOX_ROUNDS; ++round) {
        key.low += PHILOX_W0;
        key.high += PHILOX_W1;
#pragma GCC unroll 4
        for (int s = 0; s < SETS; ++s) {
            const Lanes<u64> p0 = multiply_halves(c0[s], m0), p1 = multiply_halves(c2[s], m1);
            c0[s] = p1 >> 32 ^ c1[s] ^ (u64)key.low;
            c1[s] = p1;
            c2[s] = p0 >> 32 ^ c3[s] ^ (u64)key.high;
            c3[s] = p0;
        }
    }
#pragma GCC unroll 4
    for (int s = 0; s < SETS; ++s) store_blocks(out + s * 4 * lanes, c0[s], c1[s], c2[s], c3[s]);
}

// Coefficient k of lane j's row of the table in lane j of c[k]. Whole rows are loaded, and turned into columns by shuffles: the
// instructions that gather from many places are slow on some CPUs, and very slow where a fault of theirs (CVE-2022-40982) is mended.
template <typename W> struct Columns {
    Lanes<W> c[Table<W>::degree + 1];
};

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define GPUINIT_VECTOR(operation) _mm512_##operation

// 16 bytes from each of some rows, one after the other: of float32 from every fourth one, of float64 from every second.
__forceinline__ __m512 quarters(const float *table, const u32 *rows) {
    __m512 four = _mm512_castps128_ps512(_mm_loadu_ps(table + 4 * rows[0]));
    four = _mm512_insertf32x4(four, _mm_loadu_ps(table + 4 * rows[4]), 1);
    four = _mm512_insertf32x4(four, _mm_loadu_ps(table + 4 * rows[8]), 2);
    return _mm512_insertf32x4(four, _mm_loadu_ps(table + 4 * rows[12]), 3);
}

__forceinline__ __m512d quarters(const double *table, const u64 *rows) {
    __m512d four = _mm512_castpd128_pd512(_mm_loadu_pd(table + 6 * rows[0]));
    four = _mm512_insertf64x2(four, _mm_loadu_pd(table + 6 * rows[2]), 1);
    four = _mm512_insertf64x2(four, _mm_loadu_pd(table + 6 * rows[4]), 2);
    return _mm512_insertf64x2(four, _mm_loadu_pd(table + 6 * rows[6]), 3);
}
#elif defined(__AVX2__)
#define GPUINIT_VECTOR(operation) _mm256_##operation

__forceinline__ __m256 quarters(const float *table, const u32 *rows) {
    return _mm256_insertf128_ps(
        _mm256_castps128_ps256(_mm_loadu_ps(table + 4 * rows[0])), _mm_loadu_ps(table + 4 * rows[4]), 1);
}

__forceinline__ __m256d quarters(const double *table, const u64 *rows) {
    return _mm256_insertf128_pd(
        _mm256_castpd128_pd256(_mm_loadu_pd(table + 6 * rows[0])), _mm_loadu_pd(table + 6 * rows[2]), 1);
}
#endif

#ifdef GPUINIT_VECTOR
__forceinline__ Columns<float> columns(const float *table, Lanes<u32> number) {
    u32 rows[Vector<float>::lanes];
    store_lanes(rows, number);
    const auto r0 = quarters(table, rows), r1 = quarters(table, rows + 1);
    const auto r2 = quarters(table, rows + 2), r3 = quarters(table, rows + 3);
    const auto low01 = GPUINIT_VECTOR(unpacklo_ps)(r0, r1), high01 = GPUINIT_VECTOR(unpackhi_ps)(r0, r1);
    const auto low23 = GPUINIT_VECTOR(unpacklo_ps)(r2, r3), high23 = GPUINIT_VECTOR(unpackhi_ps)(r2, r3);
    using Pairs = decltype(GPUINIT_VECTOR(castps_pd)(r0));
    return {{
        (Lanes<float>)GPUINIT_VECTOR(unpacklo_pd)((Pairs)low01, (Pairs)low23),
        (Lanes<float>)GPUINIT_VECTOR(unpackhi_pd)((Pairs)low01, (Pairs)low23),
        (Lanes<float>)GPUINIT_VECTOR(unpacklo_pd)((Pairs)high01, (Pairs)high23),
    }};
}

__forceinline__ Columns<double> columns(const double *table, Lanes<u64> number) {
    u64 rows[Vector<double>::lanes];
    store_lanes(rows, number);
    Columns<double> all;
#pragma GCC unroll 3
    for (int k = 0; k <= Table<double>::degree; k += 2) {
        const auto even = quarters(table + k, rows), odd = quarters(table + k, rows + 1);
        all.c[k] = (Lanes<double>)GPUINIT_VECTOR(unpacklo_pd)(even, odd);
        if (k < Table<double>::degree) all.c[k + 1] = (Lanes<double>)GPUINIT_VECTOR(unpackhi_pd)(even, odd);
    }
    return all;
}
#else
template <typename W>
__forceinline__ Columns<W> columns(const W *table, Lanes<typename Real<W>::Word> number) {
    Columns<W> all;
    for (int j = 0; j < Vector<W>::lanes; ++j)
        for (int k = 0; k <= Table<W>::degree; ++k) all.c[k][j] = table[number[j] * (sizeof(Table<W>) / sizeof(W)) + k];
    return all;
}
#endif

template <typename W>
__forceinline__ Lanes<W> inverse_cdf_lanes(const W *table, Lanes<W> v) {
    using Word = typename Real<W>::Word;
    using Row = Table<W>;
    constexpr Word mantissa = (Word(1) << Row::mantissa_bits) - 1, one = Word(Row::bias) << Row::mantissa_bits;
    constexpr Word sign = Word(1) << (8 * sizeof(Word) - 1);
    constexpr Word one_row = Word(Row::bias) << Row::segment_bits;  // what is shifted out of the bits of v = 1

    const Lanes<Word> bits = (Lanes<Word>)v;
    const Lanes<Word> number = ((bits & ~sign) >> (Row::mantissa_bits - Row::segment_bits)) - one_row;
    const Columns<W> row = columns(table, number);
    const Lanes<W> r = (Lanes<W>)((bits & mantissa) | one);
    Lanes<W> z = row.c[Row::degree];
#pragma GCC unroll 4
    for (int k = Row::degree - 1; k >= 0; --k) z = z * r + row.c[k];
    return (Lanes<W>)((Lanes<Word>)z ^ (bits & sign));
}

}  // namespace gpuinit
