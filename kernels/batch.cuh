// Many arrays in one launch. A table has a record for each array, and the number of the record that each 32 loop indices, a warp,
// belong to: so no warp works on two arrays, all its threads load the same record, and nothing is searched for.
// fill_batch<T, Transform>(table, ...): what fill_blocks() writes to each array. constant_batch(table, ...): 16 bytes, repeated.
#pragma once
#include "fill.cuh"

namespace gpuinit {

constexpr int WARP = 32;

// An array as store() takes it.
template <typename T>
struct Span {
    static constexpr bool c_contiguous = true;
    T *data;
    u64 length;

    __device__ __forceinline__ u64 size() const { return length; }
    __device__ __forceinline__ T &operator[](i64 i) const {
        __builtin_assume(__isGlobal(data));  // of a pointer that was loaded, the compiler cannot know it, and stores more slowly
        return data[i];
    }
};

// The records; each kernel checks that Python's have their size.
template <typename T, typename Transform>
struct FillRecord {
    Span<T> x;
    u64 warp;  // number of the array's first
    Stream stream;
    Transform transform;
};

struct ConstantRecord {
    Span<unsigned char> x;
    u64 warp;
    u64 value[2];
};

// The record that loop index i belongs to. Records begin at word `records` of the table, their numbers by warp at `owners`.
template <typename Record>
__device__ __forceinline__ const Record &record(const u64 *table, u64 records, u64 owners, i64 i) {
    const u32 owner = reinterpret_cast<const u32 *>(table + owners)[(u64)i / WARP];
    return reinterpret_cast<const Record *>(table + records)[owner];
}

template <typename T, typename Transform>
__device__ __forceinline__ void fill_batch(const u64 *table, u64 records, u64 owners, i64 i) {
    constexpr int count = BLOCKS * sizeof(Block) / sizeof(typename Rounded<T>::Working);  // elements a thread
    const auto filled = record<FillRecord<T, Transform>>(table, records, owners, i);
    const i64 thread = i - filled.warp * WARP, threads = (filled.x.size() + count - 1) / count;
    if (thread < threads) fill_blocks<T>(filled.x, thread, threads, filled.stream, filled.transform);
}

// By bytes, whatever type they are of: values of 1 to 16 bytes fill whole 16 bytes, and array ends are the same for all types.
__device__ __forceinline__ void constant_batch(const u64 *table, u64 records, u64 owners, i64 i) {
    const auto constant = record<ConstantRecord>(table, records, owners, i);
    alignas(uint4) unsigned char bytes[sizeof(uint4)];
#pragma unroll
    for (int j = 0; j < (int)sizeof(bytes); ++j) bytes[j] = constant.value[j / 8] >> 8 * (j % 8);
    store(constant.x, (i - constant.warp * WARP) * sizeof(bytes), bytes);
}

}  // namespace gpuinit
