// Sparse<W>: a normal's values, and 0 where the row's rank in its column is below `zeros`.
// rank: a permutation of the column's rows, keyed by the column, by rounds of multiply, add and fold in the least power of two
// that holds the rows (at least 2**5); a row sent outside goes round again (cycle walking).
#pragma once
#include "normal.cuh"
#include "philox.cuh"

namespace gpuinit {

constexpr u32 ROUND_KEYS[2] = {2, 3};  // third counter words of a column's blocks, 0 in those of fills

// `bits` is the domain's size. The words of the two blocks are the keys of the eight rounds.
__device__ __forceinline__ u32 permute(const Block (&keys)[2], u32 x, int bits) {
    const u32 mask = 0xffffffffu >> (32 - bits);
    const int fold = (bits + 1) / 2;
#pragma unroll
    for (int round = 0; round < 8; ++round) {
        const u32 key = keys[round / 4].words[round % 4];
        x = (x * (key | 1) + (key >> (32 - bits))) & mask;
        x ^= x >> fold;
    }
    return x;
}

__device__ __forceinline__ u32 rank(const Block (&keys)[2], u32 row, u64 rows, int bits) {
    do row = permute(keys, row, bits);
    while (row >= rows);
    return row;
}

template <typename W>
struct Sparse {
    Normal<W> normal;
    Key column_key;
    u64 rows, columns, zeros;
    int bits, parts;  // parts: reals an element, 2 in a complex array

    __device__ __forceinline__ W operator()(typename Real<W>::Word word, i64 part) const {
        const u64 element = part / parts, row = element / columns, column = element % columns;
        if (row >= rows) return W(0);  // past the end of the last block
        const u32 low = (u32)column, high = (u32)(column >> 32);
        const Block keys[2] = {
            philox(column_key, low, high, ROUND_KEYS[0], 0),
            philox(column_key, low, high, ROUND_KEYS[1], 0),
        };
        return rank(keys, (u32)row, rows, bits) < zeros ? W(0) : normal(word, part);
    }
};

}  // namespace gpuinit
