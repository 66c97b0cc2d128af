// Philox4x64-10 of Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3": words = philox(key, counter), no state.
// Block b of a gpuinit stream is the counter (b + 1, 0, 0, 0), as in numpy.random.Philox.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

constexpr u64 PHILOX_M0 = 0xD2E7470EE14C6C93;  // multipliers of the paper's table 2
constexpr u64 PHILOX_M1 = 0xCA5A826395121157;
constexpr u64 PHILOX_W0 = 0x9E3779B97F4A7C15;  // golden ratio
constexpr u64 PHILOX_W1 = 0xBB67AE8584CAA73B;  // sqrt(3) - 1
constexpr int PHILOX_ROUNDS = 10;

struct Key {
    u64 low, high;
};

// Four 64-bit words, or eight of 32 bits, the low half of each first.
struct Block {
    u64 words[4];

    __device__ __forceinline__ void word(int j, u64 &out) const { out = words[j]; }
    __device__ __forceinline__ void word(int j, u32 &out) const { out = (u32)(words[j / 2] >> (32 * (j % 2))); }
};

// The rounds from number `start` on, of the counter and the key that this round sees.
template <int start = 0>
__device__ __forceinline__ Block philox(Key key, u64 c0, u64 c1, u64 c2, u64 c3) {
#pragma unroll
    for (int round = start; round < PHILOX_ROUNDS; ++round) {
        const Product p0 = product(PHILOX_M0, c0), p1 = product(PHILOX_M1, c2);
        c0 = p1.high ^ c1 ^ key.low;
        c1 = p1.low;
        c2 = p0.high ^ c3 ^ key.high;
        c3 = p0.low;
        key.low += PHILOX_W0;
        key.high += PHILOX_W1;
    }
    return {{c0, c1, c2, c3}};
}

// A place in a stream: the key, and the number of a fill's first block.
struct Stream {
    Key key;
    u64 first;

    // Of the counter (c, 0, 0, 0); the first round by hand, since nvrtc does not see that the high half of a product with 0 is 0.
    __device__ __forceinline__ Block block(u64 i) const {
        const u64 c = first + i + 1;
        const Key next = {key.low + PHILOX_W0, key.high + PHILOX_W1};
        const Product p = product(PHILOX_M0, c);
        return philox<1>(next, key.low, 0, p.high ^ key.high, p.low);
    }
};

}  // namespace gpuinit
