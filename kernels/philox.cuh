// Philox4x32-10 of Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3": words = philox(key, counter), no state.
// Block b of a gpuinit stream is the counter (b mod 2**32, b >> 32, 0, 0).
#pragma once
#include "ieee.cuh"

namespace gpuinit {

constexpr u32 PHILOX_M0 = 0xD2511F53;  // multipliers of the paper's table 2
constexpr u32 PHILOX_M1 = 0xCD9E8D57;
constexpr u32 PHILOX_W0 = 0x9E3779B9;  // golden ratio
constexpr u32 PHILOX_W1 = 0xBB67AE85;  // sqrt(3) - 1
constexpr int PHILOX_ROUNDS = 10;

struct Key {
    u32 low, high;
};

// Four 32-bit words, or two of 64 bits, the low half of each first.
struct Block {
    u32 words[4];

    __device__ __forceinline__ void word(int j, u32 &out) const { out = words[j]; }
    __device__ __forceinline__ void word(int j, u64 &out) const { out = words[2 * j] | (u64)words[2 * j + 1] << 32; }
};

// The rounds from number `start` on, of the counter and the key that this round sees.
template <int start = 0>
__device__ __forceinline__ Block philox(Key key, u32 c0, u32 c1, u32 c2, u32 c3) {
#pragma unroll
    for (int round = start; round < PHILOX_ROUNDS; ++round) {
        const u64 p0 = (u64)PHILOX_M0 * c0, p1 = (u64)PHILOX_M1 * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ key.low;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ key.high;
        c3 = (u32)p0;
        key.low += PHILOX_W0;
        key.high += PHILOX_W1;
    }
    return {{c0, c1, c2, c3}};
}

// A place in a stream: the key, and the number of a fill's first block.
struct Stream {
    Key key;
    u64 first;

    // Of the counter (low, high, 0, 0); the first round is written out, with its product with 0 left out.
    __device__ __forceinline__ Block block(u64 i) const {
        const u64 c = first + i;
        const Key next = {key.low + PHILOX_W0, key.high + PHILOX_W1};
        const u64 p = (u64)PHILOX_M0 * (u32)c;
        return philox<1>(next, (u32)(c >> 32) ^ key.low, 0, (u32)(p >> 32) ^ key.high, (u32)p);
    }
};

}  // namespace gpuinit
